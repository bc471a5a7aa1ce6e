"""The real thing, where there is a GPU and the vendor's programs: run with `-m hardware` on the device itself.

`EDGEC_DEVICE_BUNDLE` names a bundle for this device, `EDGEC_DEVICE_KEY` its publisher's public key,
`EDGEC_DEVICE_TOOLS` the folder of the vendor's programs. Nothing here has run: engine build not verified on hardware.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgec.bundle.keyfile import load_public_key
from edgec.device.check_receipt import check_receipt
from edgec.device.facts import read_facts
from edgec.device.finalize import Bench, finalize
from edgec.device.gpu import probe_gpu

pytestmark = pytest.mark.hardware


@pytest.fixture(scope="module", autouse=True)
def _needs_a_gpu() -> None:
    if probe_gpu() is None:
        pytest.skip("no GPU answers on this machine")


def test_the_gpu_is_known(tmp_path: Path) -> None:
    facts = read_facts(Path("/"), tmp_path)
    assert isinstance(facts.sm.value, int)
    assert facts.driver.value or facts.l4t.value


def test_a_bundle_becomes_a_proven_engine(tmp_path: Path) -> None:
    bundle, key = os.environ.get("EDGEC_DEVICE_BUNDLE"), os.environ.get("EDGEC_DEVICE_KEY")
    if not bundle or not key:
        pytest.skip("EDGEC_DEVICE_BUNDLE and EDGEC_DEVICE_KEY name no bundle")
    tools = os.environ.get("EDGEC_DEVICE_TOOLS")
    bench = Bench(
        state=tmp_path / "state",
        config=tmp_path / "config",
        public_key=load_public_key(Path(key)),
        tools=Path(tools) if tools else None,
    )
    result = finalize(Path(bundle), artifact=os.environ.get("EDGEC_DEVICE_ARTIFACT"), bench=bench)
    found = check_receipt(
        result.place.receipt, config=bench.config, public_key=None, engine=result.place.engine, accept_stand_in=False
    )
    assert found.receipt.stand_in is None
    assert finalize(Path(bundle), artifact=os.environ.get("EDGEC_DEVICE_ARTIFACT"), bench=bench).done is False
