"""What a process took: CPU, wall, memory and writes by the kernel's own count, and how long it waited for a CPU.

Rule: on a shared machine the wall time alone says little; without the time in which its threads could have run but
others did, it says what an idle machine would need.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_EVERY_S = 0.02


@dataclass(frozen=True)
class Cost:
    """What processes took: CPU and wall in seconds, memory and writes in 1e6 bytes.

    `waited_s`: what its busiest threads beside the main thread waited for a CPU, on average.
    """

    cpu_s: float
    wall_s: float
    waited_s: float
    peak_rss_mb: float
    written_mb: float

    def then(self, other: Cost) -> Cost:
        """Both, one after the other."""
        return Cost(
            self.cpu_s + other.cpu_s,
            self.wall_s + other.wall_s,
            self.waited_s + other.waited_s,
            max(self.peak_rss_mb, other.peak_rss_mb),
            self.written_mb + other.written_mb,
        )


def measure(command: list[str | Path], log: Path, *, threads: int = 1) -> Cost:
    """Run `command`, which computes in `threads` threads, to its end. Raises RuntimeError with its last lines."""
    begin = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    # Thread to what it ran and what it waited for a CPU, in nanoseconds; a thread that ended keeps its last numbers.
    scheduled: dict[int, tuple[int, int]] = {}
    while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        scheduled |= _scheduled(process.pid)
        time.sleep(_SAMPLE_EVERY_S)
    wall_s = time.monotonic() - begin
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{log.read_text(errors='replace')[-3000:]}")
    # ru_maxrss counts KiB, ru_oublock blocks of 512 bytes.
    return Cost(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=wall_s,
        waited_s=_waited_s(scheduled, process.pid, threads),
        peak_rss_mb=usage.ru_maxrss * 1024 / 1e6,
        written_mb=usage.ru_oublock * 512 / 1e6,
    )


def _scheduled(pid: int) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError, ValueError):
                ran, waited, _ = map(int, (task / "schedstat").read_text().split())
                found[int(task.name)] = (ran, waited)
    return found


def _waited_s(scheduled: dict[int, tuple[int, int]], main: int, threads: int) -> float:
    busiest = sorted((s for thread, s in scheduled.items() if thread != main), reverse=True)[:threads]
    return sum(waited for _, waited in busiest) / max(1, len(busiest)) / 1e9
