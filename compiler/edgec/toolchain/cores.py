"""How much of the machine's CPU this process may use; containers and `taskset` give less than there is."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Logical CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
