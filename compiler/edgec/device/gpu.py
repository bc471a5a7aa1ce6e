"""What the GPU of this machine says of itself: through the driver in a child process, and through nvidia-smi.

Rule: a driver that hangs or crashes ends a child, not edgec; GPUs of different kinds are no answer.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgec.errors import ToolError
from edgec.toolchain.process import run_tool
from edgec.toolchain.surroundings import for_tool

_SCRIPT = Path(__file__).parent / "inside" / "cuda.py"
_TIMEOUT_S = 60.0
_QUERY = ("--query-gpu=name,compute_cap,memory.free,driver_version", "--format=csv,noheader,nounits")
_FIELDS = 4


@dataclass(frozen=True)
class Gpu:
    """A GPU. `memory_free_mib` is None where it shares the machine's memory; `found`: who said so."""

    name: str | None
    sm: int | None
    memory_free_mib: int | None
    driver: str | None
    found: str


class GpuProbe(Protocol):
    """Asks the machine for its GPU; None when it has none that answers."""

    def __call__(self) -> Gpu | None: ...


def probe_gpu() -> Gpu | None:
    """The GPU of the machine that edgec runs on."""
    told = _nvidia_smi()
    capability = _driver_capability()
    if told is not None and capability is not None:
        found = "the CUDA driver (libcuda) and nvidia-smi"
        return Gpu(told.name, capability, told.memory_free_mib, told.driver, found)
    return told if capability is None else Gpu(None, capability, None, None, "the CUDA driver (libcuda)")


def parse_smi(text: str) -> Gpu | None:
    """The answer of nvidia-smi. Several GPUs of one kind are as good as the one with the least free memory."""
    rows = [
        [field.strip() for field in line.split(",")] for line in text.splitlines() if line.count(",") == _FIELDS - 1
    ]
    kinds = {(row[0], row[1]) for row in rows}
    if len(kinds) != 1:
        return None
    (name, capability), driver = kinds.pop(), rows[0][3]
    free = [int(row[2]) for row in rows if row[2].isdigit()]
    sm = capability.replace(".", "")
    # A Jetson answers `[N/A]`: its memory is the machine's.
    return Gpu(
        name, int(sm) if sm.isdigit() else None, min(free, default=None), driver if driver[:1].isdigit() else None,
        "nvidia-smi",
    )  # fmt: skip


def _nvidia_smi() -> Gpu | None:
    answer = _ask(["nvidia-smi", *_QUERY])
    return None if answer is None else parse_smi(answer)


def _driver_capability() -> int | None:
    answer = _ask([sys.executable, "-I", str(_SCRIPT)])
    if answer is None:
        return None
    try:
        capabilities = set(json.loads(answer.splitlines()[-1])["sm"])
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return int(capabilities.pop()) if len(capabilities) == 1 else None


def _ask(arguments: list[str]) -> str | None:
    with tempfile.TemporaryDirectory(prefix="edgec-gpu-") as folder:
        try:
            env = for_tool(os.environ, str(Path(sys.executable).parent))
            return run_tool(arguments, log=Path(folder) / "log", timeout_s=_TIMEOUT_S, env=env)
        except ToolError:
            return None
