"""Reads the bytes of tensors at their offsets, straight into the caller's memory.

Rule: a read returns all the bytes it was asked for or raises; a file that shrank meanwhile is never read as zeros.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType

from edgec.errors import InputError, ToolError
from edgec.source.model import Checkpoint, TensorInfo


class TensorReader:
    """Open files of one checkpoint. Thread-safe: reads carry their own position. Use as a context manager."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._root: Path = checkpoint.root
        self._lock = threading.Lock()
        self._descriptors: dict[str, int] = {}

    def __enter__(self) -> TensorReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def pread(self, info: TensorInfo, start_byte: int, nbytes: int, into: memoryview) -> None:
        """Fill the first `nbytes` of `into` with the tensor's bytes from `start_byte` on.

        `into`: writable, contiguous, at least `nbytes` long. Raises ValueError when the range is not inside the tensor,
        InputError when the file ends early (it was cut while it was read), ToolError when the disk fails.
        """
        if start_byte < 0 or nbytes < 0 or start_byte + nbytes > info.nbytes:
            raise ValueError(f"{info.name}: bytes {start_byte}+{nbytes} of {info.nbytes}")
        target = into.cast("B")[:nbytes]
        if len(target) != nbytes:
            raise ValueError(f"{info.name}: a buffer of {len(target)} bytes for {nbytes}")
        descriptor = self._open(info)
        done = 0
        while done < nbytes:
            try:
                got = os.preadv(descriptor, [target[done:]], info.offset + start_byte + done)
            except OSError as error:
                raise ToolError.of(
                    f"reading failed: {error.strerror}",
                    hint="check the disk or the network folder the checkpoint lies on",
                    place=f"{info.file}: tensor '{info.name}'",
                ) from error
            if got == 0:
                raise InputError.of(
                    f"the file ended {nbytes - done} bytes early: it was cut or replaced while it was read",
                    hint="wait until nothing writes to the checkpoint, then build again",
                    place=f"{info.file}: tensor '{info.name}'",
                )
            done += got

    def expect(self, info: TensorInfo, start_byte: int, nbytes: int) -> None:
        """Tell the kernel that this range is read soon, so that the disk works while others compute.

        Raises InputError when the file cannot be opened.
        """
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._open(info), info.offset + start_byte, nbytes, os.POSIX_FADV_WILLNEED)

    def forget(self, info: TensorInfo, start_byte: int, nbytes: int) -> None:
        """Tell the kernel that this range is not read again, so that a large model does not push out other pages."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._open(info), info.offset + start_byte, nbytes, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close all files; safe to call twice."""
        with self._lock:
            while self._descriptors:
                os.close(self._descriptors.popitem()[1])

    def _open(self, info: TensorInfo) -> int:
        with self._lock:
            known = self._descriptors.get(info.file)
            if known is not None:
                return known
            try:
                descriptor = os.open(self._root / info.file, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise InputError.of(
                    f"cannot be opened: {error.strerror}",
                    hint="the file was there when the build began; put it back and build again",
                    place=f"{info.file}: tensor '{info.name}'",
                ) from error
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            self._descriptors[info.file] = descriptor
            return descriptor
