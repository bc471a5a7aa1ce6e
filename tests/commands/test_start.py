"""edgec starts quickly: an import or a short command loads nothing that compiles."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

_MOST_CPU_S = 0.3


def _cpu_s(command: list[str]) -> float:
    """CPU seconds of the quickest of three runs; the first may still write bytecode."""
    measured = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        measured.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(measured)


@pytest.mark.parametrize("arguments", [("-c", "import edgec"), ("-m", "edgec", "--version")], ids=["import", "version"])
def test_it_takes_less_than_a_third_of_a_second(arguments: tuple[str, ...]) -> None:
    assert _cpu_s([sys.executable, *arguments]) < _MOST_CPU_S


def test_the_python_api_loads_no_compiler() -> None:
    code = "import sys, edgec.api; print(sorted({'numba', 'llvmlite', 'torch', 'xllamacpp'} & sys.modules.keys()))"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "[]\n"
