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
from edgec.store.paths import cache_home


@contextlib.contextmanager
def explained(path: Path, *, hint: str | None = None) -> Iterator[None]:
    """Turns the operating system's refusals (full disk, no permission, read-only) into errors a person can act on."""
    try:
        yield
    except OSError as error:
        raise explain(error, path, hint=hint) from error


def explain(error: OSError, path: Path, *, hint: str | None = None) -> ToolError:
    """The `ToolError` for an `OSError` met while writing `path`; `hint`: what to do when the place itself is wrong."""
    place = str(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free_mib = free_bytes(path) >> 20
        return ToolError.of(
            f"no space left on the disk ({free_mib} MiB free)",
            place=place,
            hint=_room_hint(path),
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ToolError.of(
            f"cannot write here: {error.strerror}",
            place=place,
            hint=hint or "choose a folder you may write to, or fix its owner",
        )
    reason = error.strerror or str(error)
    return ToolError.of(f"the operating system refused: {reason}", place=place, hint=hint or "check the path")


def _room_hint(path: Path) -> str:
    cache = cache_home()
    if path.absolute().is_relative_to(cache.absolute()):
        return "free space (`edgec clean` empties the store), or set EDGEC_CACHE to a larger disk"
    if same_disk(path, cache):
        return "free space (`edgec clean` empties the store, which is on this disk), or write to a larger disk"
    return "free space on this disk, or write to a larger one"


def same_disk(first: Path, second: Path) -> bool:
    """Whether both paths are, or would be, on one file system."""
    return existing_part(first).stat().st_dev == existing_part(second).stat().st_dev


def existing_part(path: Path) -> Path:
    """`path`, or the closest thing above it that can be seen."""
    for part in (path, *path.parents):
        with contextlib.suppress(OSError):
            part.stat()
            return part
    return Path(path.anchor or ".")


def free_bytes(path: Path) -> int:
    """Free bytes of the disk on which `path` is or would be."""
    return shutil.disk_usage(existing_part(path)).free


def require_writable(folder: Path, *, hint: str | None = None) -> None:
    """Raises ToolError, with `hint`, when `folder` cannot be written to, or not be made; leaves nothing behind."""
    with explained(folder, hint=hint):
        Path(tempfile.mkdtemp(prefix=".edgec-", dir=existing_part(folder))).rmdir()


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


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Writes a file that must not exist yet, whole or not at all. Raises FileExistsError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        # A link fails where a rename would replace.
        os.link(temporary, path)
    finally:
        temporary.unlink()
