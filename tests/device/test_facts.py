"""A device tells what it is by files of real releases; what it does not tell is unknown, with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from device_case import ORIN, ROOTS

from edgec.device.facts import DeviceFacts, facts_text, read_facts
from edgec.device.gpu import Gpu, parse_smi, probe_gpu
from edgec.device.packages import installed_packages, parts

H100 = "NVIDIA H100 80GB HBM3, 9.0, 81079, 580.95.05\n"


def values(facts: DeviceFacts) -> dict[str, object]:
    return {name: fact.value for name, fact in facts.facts().items() if name != "disk_free_mib"}


def test_an_orin_nx_with_jetpack_6_2(tmp_path: Path) -> None:
    facts = read_facts(ROOTS / "orin-nx-r36.4", tmp_path)
    assert values(facts) == {
        "module": "NVIDIA Jetson Orin NX Engineering Reference Developer Kit",
        "arch": "aarch64",
        "sm": 87,
        "l4t": "36.4.3",
        "jetpack": "6.2",
        "cuda": "12.6.68",
        "tensorrt": "10.3.0.30",
        "driver": "540.4.0",
        "memory_total_mib": 15424,
        "memory_free_mib": 13601,
        "swap_free_mib": None,
        "gpu_memory_free_mib": None,
        "power_mode": "15W",
    }
    assert facts.power_modes == {"MAXN": 0, "10W": 1, "15W": 2, "25W": 3}
    assert facts.disk_free_mib.value == pytest.approx(shutil.disk_usage(tmp_path).free >> 20, rel=0.2)
    assert facts.tensorrt.found == "package libnvinfer10 10.3.0.30-1+cuda12.5"
    assert facts.sm.found == "/proc/device-tree/compatible names nvidia,tegra234; no driver was asked"


def test_an_orin_nx_with_jetpack_7_2_and_without_its_meta_package(tmp_path: Path) -> None:
    facts = read_facts(ORIN, tmp_path)
    found = values(facts)
    assert {name: found[name] for name in ("l4t", "jetpack", "cuda", "tensorrt", "driver", "power_mode")} == {
        "l4t": "39.2.0",
        "jetpack": "7.2",
        "cuda": "13.2.51",
        "tensorrt": "10.16.2.10",
        "driver": None,
        "power_mode": "MAXN",
    }
    assert facts.jetpack.found == "the JetPack that brought L4T 39.2.0; its package is not installed"
    assert facts.driver.found == "no /proc/driver/nvidia/version, and nvidia-smi does not say"


def test_a_server_tells_its_gpu_and_its_newest_cuda(tmp_path: Path) -> None:
    facts = read_facts(ROOTS / "server-h100", tmp_path, lambda: parse_smi(H100))
    found = values(facts)
    assert (found["module"], found["arch"], found["sm"], found["l4t"]) == ("NVIDIA H100 80GB HBM3", "x86_64", 90, None)
    assert (found["cuda"], found["driver"], found["gpu_memory_free_mib"]) == ("13.2.86", "580.95.05", 81079)
    assert facts.l4t.found == "no /etc/nv_tegra_release: not a Jetson"


def test_a_machine_without_a_gpu_knows_little_and_says_so(tmp_path: Path) -> None:
    facts = read_facts(ROOTS / "no-gpu", tmp_path, lambda: None)
    assert {name for name, value in values(facts).items() if value is not None} == {
        "memory_total_mib",
        "memory_free_mib",
    }
    assert all(fact.found for fact in facts.facts().values())
    assert "unknown" in facts_text(facts)


def test_the_image_of_another_device_is_read_and_nothing_of_it_is_started(tmp_path: Path) -> None:
    root = shutil.copytree(ROOTS / "server-h100", tmp_path / "root")
    program = root / "usr/bin/nvidia-smi"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    facts = read_facts(root, tmp_path)
    assert (facts.sm.value, facts.sm.found) == (None, "this is not the running system")
    assert not (tmp_path / "started").exists()


def test_this_machine_has_facts_too(tmp_path: Path) -> None:
    facts = read_facts(Path("/"), tmp_path)
    assert facts.arch.value
    assert isinstance(facts.memory_free_mib.value, int)
    gpu = probe_gpu()
    assert gpu is None or gpu.sm is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (H100, Gpu("NVIDIA H100 80GB HBM3", 90, 81079, "580.95.05", "nvidia-smi")),
        (H100 + H100.replace("81079", "5000"), Gpu("NVIDIA H100 80GB HBM3", 90, 5000, "580.95.05", "nvidia-smi")),
        ("Orin (nvgpu), [N/A], [N/A], 540.4.0\n", Gpu("Orin (nvgpu)", None, None, "540.4.0", "nvidia-smi")),
        (H100 + "NVIDIA GeForce RTX 4090, 8.9, 24000, 580.95.05\n", None),
        ("No devices were found\n", None),
        ("", None),
    ],
)
def test_the_answer_of_nvidia_smi(text: str, expected: Gpu | None) -> None:
    assert parse_smi(text) == expected


@pytest.mark.parametrize(
    ("path", "text", "fact", "expected"),
    [
        ("etc/nv_tegra_release", "# R39 (release), REVISION: 2.1, GCID: 46758480\n", "l4t", "39.2.1"),
        ("etc/nv_tegra_release", "damaged\n", "l4t", "39.2.0"),
        ("usr/local/cuda/version.json", '{"cuda": {"name": "CUDA SDK", "version": "13.2.1"}}', "cuda", "13.2.1"),
        ("usr/local/cuda/version.json", '{"cuda": ', "cuda", "13.2.51"),
        ("var/lib/nvpmodel/status", "pmode:0007", "power_mode", None),
        ("var/lib/nvpmodel/status", "", "power_mode", None),
        ("etc/nvpmodel.conf", "# < POWER_MODEL ID=0 NAME=COMMENTED >\n", "power_mode", None),
        ("proc/device-tree/compatible", "vendor,board\0", "sm", None),
        ("proc/meminfo", "", "memory_free_mib", None),
        (
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.135  Fri Jan 10 20:00:00 UTC 2025\n",
            "driver",
            "550.135",
        ),
    ],
)
def test_a_file_that_is_other_changes_only_its_fact(
    tmp_path: Path, path: str, text: str, fact: str, expected: object
) -> None:
    root = shutil.copytree(ORIN, tmp_path / "root")
    before = read_facts(root, tmp_path).facts()
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    after = read_facts(root, tmp_path).facts()
    assert after[fact].value == expected
    changed = {n for n in after if after[n].value != before[n].value} - {"disk_free_mib", "memory_total_mib"}
    assert changed - {fact, "jetpack"} == set()


def test_only_installed_packages_count(tmp_path: Path) -> None:
    packages = installed_packages(ROOTS / "orin-nx-r36.4")
    assert set(packages) == {"dpkg", "libnvinfer10", "nvidia-jetpack", "nvidia-l4t-core"}
    assert packages["nvidia-jetpack"].release == "6.2"
    assert installed_packages(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "expected"), [("36.4.3-2025", (36, 4, 3)), ("10.3.0.30", (10, 3, 0, 30)), ("6.2+b77", (6, 2)), ("x", ())]
)
def test_the_numbers_of_a_version(text: str, expected: tuple[int, ...]) -> None:
    assert parts(text) == expected
