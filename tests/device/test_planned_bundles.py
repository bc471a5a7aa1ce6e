"""The finalize plans that builds write for the Orin targets are carried out as they are, by a stand-in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from device_case import ORIN, PUBLISHER, ROOTS, Device, make_bundle, reference, replaying_stand_in

from edgec.bundle.finalize_plan import FinalizePlan
from edgec.bundle.unpack import unpack
from edgec.device.finalize import finalize
from edgec.errors import DeviceError
from edgec.plan.check import load_checked
from edgec.plan.engine import plan_engine
from edgec.source.local import open_local

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
RECIPE = """\
schema: edgec/recipe/v1
name: model
version: 1.0.0
target: orin-nx-16gb
source: {{path: {model}}}
artifacts:
  - {{format: {format}, quantize: {{scheme: {scheme}{more}}}}}
"""


def planned(folder: Path, backend: str, scheme: str) -> FinalizePlan:
    """The plan of a real build of this checkpoint."""
    more = f", calibration: {MODEL / 'calibration.txt'}" if scheme == "int4_awq" else ""
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(model=MODEL, format=backend, scheme=scheme, more=more))
    loaded, target = load_checked(path, env={})
    artifact: Any = loaded.recipe.artifacts[0]
    return plan_engine(loaded, target, open_local(MODEL).header, artifact, 0).finalize


def jetpack_6_1(folder: Path) -> Path:
    """An Orin NX with the JetPack of TensorRT-LLM's branch for Jetson."""
    root = shutil.copytree(ROOTS / "orin-nx-r36.4", folder / "root")
    release, status = root / "etc/nv_tegra_release", root / "var/lib/dpkg/status"
    release.write_text(release.read_text().replace("REVISION: 4.3", "REVISION: 4.0"))
    status.write_text(status.read_text().replace("6.2+b77", "6.1+b123"))
    return root


@pytest.mark.parametrize(
    ("backend", "scheme", "version"),
    [("edgellm", "int4_awq", "0.11.0"), ("edgellm", "fp16", "0.11.0"), ("trtllm", "int8_wo", "0.12.0")],
)
def test_a_real_plan_is_carried_out(device: Device, tmp_path: Path, backend: str, scheme: str, version: str) -> None:
    plan = planned(tmp_path, backend, scheme)
    weights = bytes(range(251)) * (2 * plan.build.outputs[0].min_bytes // 251)
    bundle = make_bundle(tmp_path / "bundle", plan, weights=weights)
    root = ORIN if backend == "edgellm" else jetpack_6_1(tmp_path)
    result = finalize(bundle, artifact=None, bench=device.bench(root=root, version=version))
    assert result.done
    assert result.receipt.backend == plan.backend
    assert set(result.receipt.engine) >= {output.path for output in plan.build.outputs}
    other = ROOTS / ("orin-nx-r36.4" if backend == "edgellm" else "orin-nx-r39.2")
    with pytest.raises(DeviceError, match="this device has"):
        finalize(bundle, artifact=None, bench=device.bench(root=other, version=version))


def test_a_bundle_of_a_real_model_is_carried_out_by_replaying_its_reference(device: Device, tmp_path: Path) -> None:
    plan = planned(tmp_path, "edgellm", "int4_awq")
    weights = bytes(2 * plan.build.outputs[0].min_bytes)
    recorded = reference(b"a model that nobody has here", plan.artifact)
    bundle = make_bundle(tmp_path / "bundle", plan, weights=weights, recorded=recorded)
    unpack(bundle, tmp_path / "unpacked", public_key=PUBLISHER.public, accept_development_key=True)
    script = replaying_stand_in(tmp_path, tmp_path / "unpacked" / plan.proof.reference, plan.backend.version)
    result = finalize(bundle, artifact=None, bench=device.bench(stand_in=script))
    assert result.receipt.proof.runtime == "recorded stand-in: the reference itself"
    assert result.receipt.stand_in is not None


def test_an_engine_with_too_few_weights_is_no_engine(device: Device, tmp_path: Path) -> None:
    plan = planned(tmp_path, "edgellm", "int4_awq")
    bundle = make_bundle(tmp_path / "bundle", plan, weights=b"x" * (plan.build.outputs[0].min_bytes // 2))
    with pytest.raises(DeviceError, match=r"`llm\.engine` has \d+ bytes, less than"):
        finalize(bundle, artifact=None, bench=device.bench())
