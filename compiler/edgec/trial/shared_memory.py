"""Triton's regions of shared memory: names that tell their owner, and the end of those whose owner is dead.

Rule: a region is removed only when the process in its name, of this machine's same process space, runs no more.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

_FOLDER = Path("/dev/shm")  # noqa: S108 - where Triton puts them, under names of ours
_PROC = Path("/proc")
# The number of a process is given again after its end: its start, in clock ticks since boot, tells the two apart.
_NAME = re.compile(r"edgec_(?P<space>\d+)_(?P<process>\d+)_(?P<began>\d+)_[0-9a-f]{8}_.*")


@contextlib.contextmanager
def region_prefix() -> Iterator[str]:
    """How the names of one server's regions begin; they are removed when the block ends."""
    remove_left_behind()
    process = os.getpid()
    prefix = f"edgec_{_space()}_{process}_{_began(process)}_{secrets.token_hex(4)}_"
    try:
        yield prefix
    finally:
        for region in _FOLDER.glob(f"{prefix}*"):
            region.unlink(missing_ok=True)


def remove_left_behind() -> None:
    """Removes the regions whose owner was killed."""
    for region in _FOLDER.glob("edgec_*"):
        name = _NAME.fullmatch(region.name)
        # Numbers of another space, a container's, say nothing here.
        if name is None or name["space"] != _space() or name["began"] == _began(int(name["process"])):
            continue
        # Another user's: the owner's next start removes it.
        with contextlib.suppress(PermissionError):
            region.unlink(missing_ok=True)


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
