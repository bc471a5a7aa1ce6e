"""Replaces a whole folder in one step, and clears away what killed writers left.

Rule: at any moment the destination is the old folder or the new one, complete. Scratch folders are siblings, and locked
while their writer lives, so that the next writer knows which are dead. Scratch folders are made, exchanged and removed
only under a lock of the folder they stand in, so that writers of one destination take turns at it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from edgec.store.atomic import fsync_folder

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def scratch_folder(destination: Path) -> Iterator[Path]:
    """A new empty folder beside `destination`, removed at the end with whatever stands at its name then.

    Raises OSError.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with _turn(destination.parent):
        _clear_leftovers(destination)
        scratch, lock = _make_locked(destination)
    try:
        yield scratch
    finally:
        with _turn(destination.parent):
            _remove(scratch)
        os.close(lock)
        fsync_folder(destination.parent)


def move_in(scratch: Path, destination: Path) -> None:
    """Puts the finished `scratch` at `destination`; what stood there takes the scratch name. Raises OSError.

    On Linux the two change places in one system call. Elsewhere there is a moment with neither at the destination;
    when killed then, the next writer's `clear_leftovers` puts the old one back.
    """
    sync_tree(scratch)
    with _turn(destination.parent):
        if not _rename_new(scratch, destination) and not exchange(scratch, destination):
            replace_in_steps(scratch, destination)
    fsync_folder(destination.parent)


def exchange(first: Path, second: Path) -> bool:
    """Exchanges two names in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    rename: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        return False
    raise OSError(number, os.strerror(number), str(second))


def replace_in_steps(scratch: Path, destination: Path) -> None:
    """Replaces the folder `destination` where two folders cannot be exchanged. Raises OSError."""
    aside = destination.with_name(f".{destination.name}.old-{secrets.token_hex(4)}")
    destination.rename(aside)
    scratch.rename(destination)
    _remove(aside)


def clear_leftovers(destination: Path) -> None:
    """Removes scratch folders of dead writers; puts back an old folder that a kill left aside. Raises OSError."""
    with _turn(destination.parent):
        _clear_leftovers(destination)


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Writes a new file, durably but for its name, which `sync_tree` is for. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def sync_tree(root: Path) -> None:
    """Makes the names in `root` and in all folders below it durable."""
    for folder, _, _ in os.walk(root, topdown=False):
        fsync_folder(Path(folder))


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Waits until no other writer makes, exchanges or removes folders in `folder`: moments, never while one writes."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _clear_leftovers(destination: Path) -> None:
    for aside in sorted(destination.parent.glob(f".{_glob_safe(destination.name)}.old-*")):
        if destination.exists():
            _remove(aside)
        else:
            aside.rename(destination)
    for scratch in destination.parent.glob(f".{_glob_safe(destination.name)}.partial-*"):
        lock = os.open(scratch, os.O_RDONLY)
        try:
            # What lies at a living writer's scratch name after an exchange is the old folder, which nobody locks.
            if _lock(lock):
                _remove(scratch)
        finally:
            os.close(lock)


def _make_locked(destination: Path) -> tuple[Path, int]:
    scratch = destination.with_name(f".{destination.name}.partial-{secrets.token_hex(4)}")
    scratch.mkdir()
    lock = os.open(scratch, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return scratch, lock


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def _rename_new(scratch: Path, destination: Path) -> bool:
    """Renames unless something stands at the destination, also when another writer put it there this instant."""
    try:
        scratch.rename(destination)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return False
        raise
    return True


def _remove(folder: Path) -> None:
    # Another writer may have cleared it in its turn.
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _glob_safe(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
