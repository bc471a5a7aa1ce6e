"""Names that tell which process owns a thing, so that what the killed left behind is known for it.

Rule: a thing is left behind only when the process in its name, of this machine's same process space, runs no more.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_PROC = Path("/proc")
# The number of a process is given again after its end: its start, in clock ticks since boot, tells the two apart.
_MARK = re.compile(r"(?P<space>\d+)_(?P<process>\d+)_(?P<began>\d+)")


def own_mark() -> str:
    """What names of this process's things hold. Raises OSError where the system does not tell (no Linux)."""
    process = os.getpid()
    return f"{_space()}_{process}_{_began(process)}"


def is_left_behind(mark: str) -> bool:
    """Whether the process that made `mark` is dead; never of another process space, a container's."""
    found = _MARK.fullmatch(mark)
    return found is not None and found["space"] == _space() and found["began"] != _began(int(found["process"]))


def _space() -> str:
    """The number of this machine's process space, as the kernel names it: `pid:[4026531836]`."""
    return re.sub(r"\D", "", str((_PROC / "self" / "ns" / "pid").readlink()))


def _began(process: int) -> str | None:
    """When a process began, None when it is none."""
    try:
        stat = (_PROC / str(process) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Field 22; the second, in brackets, may hold spaces and brackets.
    return stat.rpartition(")")[2].split()[19]
