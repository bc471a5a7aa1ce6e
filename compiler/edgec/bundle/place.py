"""Puts a stored file into a bundle without needless copying.

Rule: a blob never shares bytes with a file somebody may edit. A reflink (copy on write) is always safe; a hard link is
made only to a read-only file, as the store keeps them; everything else is copied. The caller hashes what it got.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

# ioctl number of FICLONE (linux/fs.h): share the extents of another file, copy on write.
_FICLONE = 0x40049409
_COPY_CHUNK_BYTES = 8 << 20
READ_ONLY = 0o444


def place_file(source: Path, destination: Path) -> None:
    """Makes `destination`, a read-only file with the content of `source`. Raises OSError."""
    with source.open("rb") as reader:
        state = os.fstat(reader.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(f"not a regular file: {source}")
        with destination.open("xb") as writer:
            if _reflink(reader, writer):
                _seal(writer)
                return
        if not state.st_mode & 0o222 and _hard_link(source, state.st_ino, destination):
            return
        with destination.open("wb") as writer:
            shutil.copyfileobj(reader, writer, _COPY_CHUNK_BYTES)
            _seal(writer)


def write_file(destination: Path, data: bytes) -> None:
    """Writes a new read-only file durably. Raises OSError."""
    with destination.open("xb") as writer:
        writer.write(data)
        _seal(writer)


def _reflink(reader: BinaryIO, writer: BinaryIO) -> bool:
    try:
        import fcntl  # noqa: PLC0415 (absent on Windows)

        fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
    except (ImportError, OSError):
        return False
    return True


def _hard_link(source: Path, inode: int, destination: Path) -> bool:
    destination.unlink()
    with contextlib.suppress(OSError):
        os.link(source.resolve(), destination)
        if destination.stat().st_ino == inode:
            return True
        destination.unlink()
    return False


def _seal(writer: BinaryIO) -> None:
    writer.flush()
    os.fchmod(writer.fileno(), READ_ONLY)
    os.fsync(writer.fileno())
