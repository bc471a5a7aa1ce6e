"""Locks between processes: a `flock` on a file, freed by the kernel when its holder dies."""

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
    fd = _open(path, hint)
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


@contextlib.contextmanager
def shared(path: Path, *, hint: str | None = None) -> Iterator[None]:
    """Holds the lock `path` together with others that share it. Raises ToolError, with `hint`, if it cannot be made."""
    fd = _open(path, hint)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def unless_held(path: Path, *, hint: str | None = None) -> Iterator[bool]:
    """True while holding the lock `path`, or at once False because another holds or shares it."""
    fd = _open(path, hint)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _open(path: Path, hint: str | None) -> int:
    with explained(path, hint=hint):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
