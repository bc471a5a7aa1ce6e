"""The kernels elsewhere: the same bytes from the code for other processors, and none of it fuses multiply and add."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import compile_digests
import lane_digests
import pytest
from llvmlite.binding import get_host_cpu_features

_HERE = Path(__file__).parent
_EMULATOR = Path(__file__).parents[3] / "ci" / "aarch64"
# numba's settings for code without AVX, and without AVX-512 but with fused instructions; and the registers it may use.
_PROCESSORS = {"nehalem": ("", ["xmm"]), "haswell": ("+avx2,+bmi,+bmi2,+f16c,+fma", ["xmm", "ymm"])}

needs_x86_64 = pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="needs an x86-64 processor")
emulated_only = [
    pytest.mark.aarch64,
    pytest.mark.heavy("aarch64-kernels"),
    pytest.mark.skipif(
        "aarch64" not in os.environ.get("EDGEC_REQUIRE", "").split(),
        reason="takes minutes: EDGEC_REQUIRE=aarch64 asks for it",
    ),
]


@pytest.fixture(scope="module")
def digests_here() -> dict[str, str]:
    """Of what the kernels make of the samples on this machine."""
    return lane_digests.kernel_digests()


def _run(command: list[str | Path], cache: Path, **settings: str) -> Any:
    env = os.environ | {"EDGEC_CACHE": str(cache), "PYTHON": sys.executable} | settings
    ended = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True, timeout=1500)
    return json.loads(ended.stdout)


def _differences(ours: dict[str, str], theirs: dict[str, str]) -> list[str]:
    assert ours.keys() == theirs.keys()
    return [name for name in ours if ours[name] != theirs[name]]


@needs_x86_64
def test_the_samples_have_ggmls_bytes(digests_here: dict[str, str]) -> None:
    assert digests_here
    assert _differences(digests_here, lane_digests.ggml_digests()) == []


@needs_x86_64
@pytest.mark.parametrize("processor", _PROCESSORS)
def test_the_code_for_another_x86_processor_makes_the_same_bytes(
    processor: str, digests_here: dict[str, str], tmp_path: Path
) -> None:
    features, registers = _PROCESSORS[processor]
    if "avx2" in features and not get_host_cpu_features()["avx2"]:
        pytest.skip("this processor has no AVX2")
    command = [sys.executable, _HERE / "lane_digests.py", "--code"]
    theirs = _run(command, tmp_path, NUMBA_CPU_NAME=processor, NUMBA_CPU_FEATURES=features)
    assert _differences(digests_here, theirs["kernel"]) == []
    assert theirs["code"]["functions"]
    assert theirs["code"]["fused"] == []
    assert theirs["code"]["registers"] == registers


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the emulated processor's code is kept between its tests."""
    return tmp_path_factory.mktemp("aarch64")


class TestAarch64:
    """On an emulated Cortex-A76, with the aarch64 builds of numba, numpy and xllamacpp."""

    pytestmark = emulated_only

    def test_the_kernels_make_the_same_bytes(self, digests_here: dict[str, str], cache: Path) -> None:
        theirs = _run([_EMULATOR, _HERE / "lane_digests.py", "--code"], cache)
        assert theirs["machine"] == "aarch64"
        assert _differences(lane_digests.input_digests(), theirs["input"]) == []
        assert _differences(digests_here, theirs["kernel"]) == []
        assert theirs["code"]["functions"]
        assert theirs["code"]["fused"] == []

    def test_a_model_becomes_the_same_files(self, cache: Path) -> None:
        theirs = _run([_EMULATOR, _HERE / "compile_digests.py"], cache)
        assert _differences(compile_digests.compile_digests(), theirs) == []
