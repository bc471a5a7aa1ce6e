"""The files a compile writes into: room reserved beforehand, headers first, slabs at their offsets.

Rule: a full disk is found before any work, and every refusal of the operating system becomes an error to act on.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import TracebackType

from edgec.formats.gguf.layout import FilePlan, GgufLayout
from edgec.store.atomic import explain, explained, fsync_folder

# st_blocks counts these whatever the file system's own blocks are (stat(2)).
_STAT_BLOCK_BYTES = 512


def _reserve(descriptor: int, size: int) -> None:
    """Give the file its size and its room on the disk; what it holds stays. Raises OSError."""
    before = os.fstat(descriptor)
    disk = os.fstatvfs(descriptor)
    # Asked first, because a file system that runs out half-way keeps what it has given.
    if size - before.st_blocks * _STAT_BLOCK_BYTES > disk.f_bavail * disk.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            os.ftruncate(descriptor, min(size, before.st_size))
            raise


class OutputFiles:
    """The open files of one layout in `folder`. Writing is thread-safe. Use as a context manager."""

    def __init__(self, folder: Path, layout: GgufLayout) -> None:
        self._folder = folder
        self._descriptors: dict[str, int] = {}
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            for file in layout.files:
                self._open(file)
        except BaseException:
            self.close()
            raise

    def _open(self, file: FilePlan) -> None:
        path = self._folder / file.name
        with explained(path):
            # Remains of an earlier run are used again, but never written through to a file elsewhere.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            self._descriptors[file.name] = descriptor
            _reserve(descriptor, file.size_bytes)
        self.write(file.name, file.header, 0)

    def write(self, name: str, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset` of file `name`. Raises ToolError."""
        view = memoryview(data)
        try:
            while view.nbytes:
                written = os.pwrite(self._descriptors[name], view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise explain(error, self._folder / name) from error

    def read(self, name: str, nbytes: int, offset: int) -> bytes:
        """At most `nbytes` at `offset` of file `name`."""
        return os.pread(self._descriptors[name], nbytes, offset)

    def sync(self) -> None:
        """Make everything written so far durable. Raises ToolError."""
        for name, descriptor in self._descriptors.items():
            with explained(self._folder / name):
                os.fsync(descriptor)

    def sync_folder(self) -> None:
        """Make the files' names durable. Raises ToolError."""
        with explained(self._folder):
            fsync_folder(self._folder)

    def close(self) -> None:
        """Close all files; safe to call twice."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __enter__(self) -> OutputFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
