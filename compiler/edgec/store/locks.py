"""Locks between processes: an exclusive `flock` on a file, freed by the kernel when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edgec.store.atomic import explained


@contextlib.contextmanager
def exclusive(path: Path, *, waiting: Callable[[], None] | None = None, hint: str | None = None) -> Iterator[None]:
    """Holds the lock `path`; calls `waiting` once if another process holds it.

    Raises ToolError, with `hint`, if it cannot be made.
    """
    with explained(path, hint=hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
