"""The vendor's real wheel, as far as it goes without a GPU: found, asked for its version, started, not believed."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
from device_case import PUBLISHER, edgellm_plan, make_bundle

from edgec.bundle.finalize_plan import Requirements
from edgec.device.finalize import Bench, finalize
from edgec.device.gpu import probe_gpu
from edgec.device.vendor import find_vendor
from edgec.errors import DeviceError
from edgec.events import silent
from edgec.toolchain.environments import find_toolchain, install

pytestmark = [pytest.mark.toolchain, pytest.mark.heavy("edgellm")]


@pytest.fixture(scope="module")
def tools(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of the exporter's environment: the same wheel as on the device."""
    log = tmp_path_factory.mktemp("install") / "log"
    environment = install(find_toolchain("edgellm"), toolchains_root, offline=False, report=silent, log=log)
    return environment.python.parent


def test_the_wheel_is_asked_for_its_version(tools: Path, tmp_path: Path) -> None:
    vendor = find_vendor(edgellm_plan(), tools, {})
    versions = vendor.versions(tmp_path / "log")
    assert (versions.backend, versions.python) == ("0.11.0", str(tools / "python3"))


def test_without_a_gpu_its_builder_is_started_and_no_engine_is_believed(tools: Path, tmp_path: Path) -> None:
    if probe_gpu() is not None:
        pytest.skip("here is a GPU: see test_hardware.py")
    bundle = make_bundle(tmp_path, edgellm_plan(requires=Requirements(arch=platform.machine())))
    bench = Bench(state=tmp_path / "state", config=tmp_path / "config", public_key=PUBLISHER.public, tools=tools)
    with pytest.raises(DeviceError, match="there is no engine: `edgellm-onnx-build` exited with 1") as caught:
        finalize(bundle, artifact=None, bench=bench)
    assert "tensorrt_edgellm" in str(caught.value)
    assert not list((tmp_path / "state").rglob("current"))
