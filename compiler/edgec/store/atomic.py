"""Effects on disk that are whole or not there: write beside, fsync, rename.

Rule: nothing half-written is ever visible under its final name, and an existing file is replaced, never truncated.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgec.errors import ToolError


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals (full disk, no permission, read-only) into errors a person can act on."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


def explain(error: OSError, path: Path) -> ToolError:
    """The `ToolError` for an `OSError` met while writing `path`."""
    place = str(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free_mib = _free_bytes(path) >> 20
        return ToolError.of(
            f"no space left on the disk ({free_mib} MiB free)",
            place=place,
            hint="free space (`edgec clean` empties the store), or set EDGEC_CACHE to a larger disk",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ToolError.of(
            f"cannot write here: {error.strerror}",
            place=place,
            hint="choose a folder you may write to, or fix its owner",
        )
    return ToolError.of(f"the operating system refused: {error.strerror or error}", place=place, hint="check the path")


def _free_bytes(path: Path) -> int:
    folder = path
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_writable(folder: Path) -> None:
    """Raises ToolError when `folder` cannot be written to, or not be made; leaves nothing behind."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    with explained(folder):
        Path(tempfile.mkdtemp(prefix=".edgec-", dir=existing)).rmdir()


def fsync_folder(folder: Path) -> None:
    """Makes renames within `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_file(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Writes `data` to `path` atomically and durably; creates missing parent folders."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)
