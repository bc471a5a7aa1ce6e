"""Matrices on disk instead of in memory: activations between layers, the weights of the layer at work.

Rule: read and written with pread and pwrite, never mapped, so that the process's memory is what it asked for.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgec.errors import ToolError
from edgec.store.atomic import explained

Floats = NDArray[np.float32]
_FLOAT_BYTES = 4


class Spill:
    """A matrix (rows, columns) of float32 in a file that may exist already. Use as a context manager."""

    def __init__(self, path: Path, columns: int) -> None:
        self.columns = columns
        self._path = path
        with explained(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        os.close(self._descriptor)

    def write(self, first: int, rows: Floats) -> None:
        """Rows from index `first` on. Raises ToolError when the disk refuses."""
        data = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
        offset = first * self.columns * _FLOAT_BYTES
        with explained(self._path):
            while data:
                done = os.pwrite(self._descriptor, data, offset)
                data, offset = data[done:], offset + done

    def read(self, begin: int, end: int) -> Floats:
        """Rows [begin, end). Raises ToolError when the file does not hold them."""
        out = np.empty((end - begin, self.columns), np.float32)
        left = out.reshape(-1).view(np.uint8).data
        offset = begin * self.columns * _FLOAT_BYTES
        with explained(self._path):
            while left:
                done = os.preadv(self._descriptor, [left], offset)
                if done == 0:
                    raise ToolError.of("a scratch file ended early", hint="build again", place=str(self._path))
                left, offset = left[done:], offset + done
        return out

    def sync(self) -> None:
        """Makes what was written durable."""
        with explained(self._path):
            os.fsync(self._descriptor)
