"""How much memory a tool may take now, and whether the kernel had to end one; nothing is known outside Linux."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from edgec.errors import ToolError

_CGROUPS = Path("/sys/fs/cgroup")


def available_mib() -> int | None:
    """Memory that can be had without swapping, also within the limits of a container; None if it is not known."""
    machine = _counter(Path("/proc/meminfo"), "MemAvailable:")
    bounds = [None if machine is None else machine >> 10, *map(cgroup_free_mib, _own_cgroups())]
    return min((bound for bound in bounds if bound is not None), default=None)


def cgroup_free_mib(group: Path) -> int | None:
    """What the processes of a cgroup, of version 1 or 2, may still take together; None if it has no limit."""
    limit = _number(group / "memory.max", group / "memory.limit_in_bytes")
    used = _number(group / "memory.current", group / "memory.usage_in_bytes")
    if limit is None or used is None:
        return None
    # Cached files count as used, and go when the memory is wanted.
    statistics = group / "memory.stat"
    cached = _counter(statistics, "total_inactive_file") or _counter(statistics, "inactive_file") or 0
    return max(0, limit - used + cached) >> 20


def refuse_small_memory(what: str, need_mib: int) -> None:
    """Raises ToolError when `what` needs more memory than there is now."""
    free_mib = available_mib()
    if free_mib is not None and free_mib < need_mib:
        raise ToolError.of(
            f"{what} needs {need_mib} MiB of memory, and {free_mib} MiB are available",
            hint="end other programs, raise the container's memory limit, or build on a larger machine",
        )


def oom_kills() -> int | None:
    """How many processes the kernel has ended since it started, because memory ran out; None if it does not tell."""
    return _counter(Path("/proc/vmstat"), "oom_kill")


def _own_cgroups() -> list[Path]:
    """The cgroups that count this process's memory, and those above them, which bind it as well."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                root = _CGROUPS / controllers
                own = root / path.lstrip("/")
                found += [group for group in (own, *own.parents) if group.is_relative_to(root)]
    return found


def _counter(path: Path, name: str) -> int | None:
    with contextlib.suppress(OSError):
        if found := re.search(rf"^{re.escape(name)}\s+(\d+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            return int(found[1])
    return None


def _number(*paths: Path) -> int | None:
    """The number in the first of these files that is there and has one."""
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            return int(path.read_text(encoding="utf-8"))
    return None
