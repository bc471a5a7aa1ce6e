"""A device that is not what a bundle needs is refused before anything is built, with every mismatch and its way out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from device_case import ORIN, REQUIRES, ROOTS, edgellm_plan

from edgec.bundle.finalize_plan import FinalizePlan
from edgec.device.facts import DeviceFacts, Fact, read_facts
from edgec.device.gpu import parse_smi
from edgec.device.match import Amounts, begins_with, require_match
from edgec.device.vendor import Versions
from edgec.errors import DeviceError, ExitCode

GOLDENS = Path(__file__).parent / "goldens"
RIGHT = Versions("python3", "0.11.0", None)
PLENTY = Amounts(build_memory_mib=2000, memory_mib=1000, gpu_memory_mib=None, disk_mib=10)


def orin(**changes: Any) -> DeviceFacts:
    facts = read_facts(ORIN, Path("/"))
    fixed = {"disk_free_mib": Fact(value=50_000, found="the disk of /state")}
    return facts.model_copy(update={**fixed, **{k: Fact(value=v, found="a test") for k, v in changes.items()}})


def needing(**changes: Any) -> FinalizePlan:
    return edgellm_plan(requires=REQUIRES.model_copy(update=changes))


def refusal(
    plan: FinalizePlan, facts: DeviceFacts, versions: Versions = RIGHT, amounts: Amounts = PLENTY
) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        require_match(plan, facts, versions, amounts)
    return caught.value


def test_the_device_the_bundle_is_for_is_accepted() -> None:
    assert require_match(edgellm_plan(), orin(), RIGHT, PLENTY) == ()


@pytest.mark.parametrize(
    ("name", "root", "versions"),
    [
        ("older_jetpack", "orin-nx-r36.4", Versions("/opt/edgellm/bin/python3", "0.6.0", None)),
        ("server", "server-h100", Versions("/usr/bin/python3", None, "10.16.0.72")),
        ("no_gpu", "no-gpu", Versions("/usr/bin/python3", None, None)),
    ],
)
def test_every_mismatch_is_told_at_once(name: str, root: str, versions: Versions) -> None:
    smi = "NVIDIA H100 80GB HBM3, 9.0, 81079, 580.95.05\n" if root == "server-h100" else ""
    facts = read_facts(ROOTS / root, Path("/"), lambda: parse_smi(smi))
    facts = facts.model_copy(update={"disk_free_mib": Fact(value=900, found="the disk of /state")})
    amounts = Amounts(build_memory_mib=250_000, memory_mib=200_000, gpu_memory_mib=90_000, disk_mib=12_000)
    error = refusal(needing(driver_min="600.10"), facts, versions, amounts)
    assert error.exit_code == ExitCode.PUBLISH == 5
    assert all(diagnostic.hint for diagnostic in error.diagnostics)
    golden, text = GOLDENS / f"{name}.txt", f"{error}\n"
    if os.environ.get("EDGEC_UPDATE_GOLDENS"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize(
    ("needed", "found", "message"),
    [
        ({"arch": "x86_64"}, {}, "for x86_64, and this device is aarch64"),
        ({"sm": 110}, {}, "sm_110, and this device has sm_87"),
        ({}, {"sm": None}, "this device does not tell its own (a test)"),
        ({"l4t": "36.4"}, {}, "needs L4T 36.4, and this device has 39.2.0"),
        ({"jetpack": "7.3"}, {}, "needs JetPack 7.3, and this device has 7.2"),
        ({"cuda": "13.20"}, {}, "needs CUDA 13.20, and this device has 13.2.51"),
        ({"tensorrt": "10.1"}, {}, "needs TensorRT 10.1, and this device has 10.16.2.10"),
        ({"driver_min": "540.4.0"}, {"driver": "540.3.9"}, "driver 540.4.0 or newer, and this device has 540.3.9"),
        ({"driver_min": "540.4"}, {}, "this device does not tell its own (no /proc/driver/nvidia/version"),
    ],
)
def test_one_mismatch_is_one_refusal(needed: dict[str, Any], found: dict[str, Any], message: str) -> None:
    error = refusal(needing(**needed), orin(**found))
    assert len(error.diagnostics) == 1
    assert message in error.diagnostics[0].message


@pytest.mark.parametrize("driver", ["540.4.0", "540.10", "595"])
def test_a_newer_driver_is_accepted(driver: str) -> None:
    assert require_match(needing(driver_min="540.4.0"), orin(driver=driver), RIGHT, PLENTY) == ()


def test_what_the_bundle_does_not_say_is_not_compared() -> None:
    plan = needing(arch=None, sm=None, l4t=None, jetpack=None, cuda=None, tensorrt=None)
    facts = read_facts(ROOTS / "no-gpu", Path("/"), lambda: None)
    assert require_match(plan, facts, RIGHT, Amounts(None, None, None, None)) == ()


def test_the_tensorrt_of_the_vendors_python_counts_before_the_systems() -> None:
    require_match(needing(tensorrt="10.16.0"), orin(), Versions("python3", "0.11.0", "10.16.0.72"), PLENTY)
    assert "has 10.13" in str(refusal(edgellm_plan(), orin(), Versions("python3", "0.11.0", "10.13.3")))


@pytest.mark.parametrize(
    ("have", "text"), [("0.11.1", "has tensorrt-edgellm 0.11.1"), (None, "has no tensorrt-edgellm")]
)
def test_the_exporters_version_must_be_the_builders(have: str | None, text: str) -> None:
    error = refusal(edgellm_plan(), orin(), Versions("python3", have, None))
    assert text in str(error)
    assert "must be the same version" in str(error)


@pytest.mark.parametrize(
    ("amounts", "text"),
    [
        (Amounts(14_000, None, None, None), "14000 MiB of memory and swap are needed, and 13601 MiB are free"),
        (Amounts(None, 14_000, None, None), "14000 MiB of memory are needed, and 13601 MiB are free"),
        (
            Amounts(None, None, None, 50_001),
            "50001 MiB of disk are needed, and 50000 MiB are free (the disk of /state)",
        ),
    ],
)
def test_too_little_memory_and_disk_are_refused_with_numbers(amounts: Amounts, text: str) -> None:
    assert text in str(refusal(edgellm_plan(), orin(), amounts=amounts))


@pytest.mark.parametrize(
    ("set_to", "advised", "warned"),
    [
        ("15W", "MAXN", True),
        ("15W", "25W", True),
        ("25W", "15W", False),
        ("MAXN", "25W", False),
        ("MAXN_SUPER", "MAXN SUPER", False),
        ("MAXN", None, False),
        (None, "MAXN", False),
    ],
)
def test_a_lower_power_mode_is_a_warning(set_to: str | None, advised: str | None, warned: bool) -> None:
    found = require_match(needing(power_mode=advised), orin(power_mode=set_to), RIGHT, PLENTY)
    assert bool(found) == warned
    if advised == "MAXN" and warned:
        assert found == ("the power mode is 15W, and MAXN is advised: sudo nvpmodel -m 0",)


@pytest.mark.parametrize(
    ("have", "wanted", "expected"),
    [("10.3.0.30", "10.3", True), ("10.30", "10.3", False), ("10.3", "10.3.0", False), (None, "10", False)],
)
def test_versions_are_compared_part_by_part(have: str | None, wanted: str, expected: bool) -> None:
    assert begins_with(have, wanted) is expected


def test_what_builds_may_lie_in_swap_and_what_runs_may_not() -> None:
    facts = orin(memory_free_mib=4000, swap_free_mib=8000)
    assert require_match(edgellm_plan(), facts, RIGHT, Amounts(12_000, 4000, None, None)) == ()
    with pytest.raises(DeviceError, match="4001 MiB of memory are needed, and 4000 MiB are free"):
        require_match(edgellm_plan(), facts, RIGHT, Amounts(12_000, 4001, None, None))
    with pytest.raises(DeviceError, match="12001 MiB of memory and swap are needed, and 12000 MiB are free"):
        require_match(edgellm_plan(), facts, RIGHT, Amounts(12_001, 4000, None, None))
