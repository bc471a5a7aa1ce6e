"""Memory shared by the two processes, for arrays too big for JSON.

Rule: the worker writes and grows it, the parent copies out.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt


def create_area() -> int:
    """A file descriptor of an empty anonymous file, in memory where the system can, else an unlinked temporary file."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("edgec-llama", 0)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class SharedArea:
    """One process's mapping of the shared file; grows with the largest array so far."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map: mmap.mmap | None = None

    def put(self, array: npt.NDArray[Any]) -> int:
        """Writes the values of `array` (row-major) to the start of the area and returns their number of bytes."""
        data = np.ascontiguousarray(array)
        if data.nbytes:
            np.frombuffer(self._mapped(data.nbytes), dtype=data.dtype, count=data.size)[:] = data.ravel()
        return data.nbytes

    def take(self, nbytes: int, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """A copy of the first `nbytes` of the area. Raises ValueError when the sizes disagree."""
        array: npt.NDArray[Any] = np.empty(shape, dtype=dtype)
        if array.nbytes != nbytes or os.fstat(self._descriptor).st_size < nbytes:
            raise ValueError(f"{nbytes} bytes announced, {array.nbytes} expected")
        if nbytes:
            array[...] = np.frombuffer(self._mapped(nbytes), dtype=dtype, count=array.size).reshape(shape)
        return array

    def close(self) -> None:
        """Unmaps the area and closes its descriptor; closing again does nothing."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _mapped(self, nbytes: int) -> mmap.mmap:
        if self._map is None or len(self._map) < nbytes:
            if os.fstat(self._descriptor).st_size < nbytes:
                os.ftruncate(self._descriptor, nbytes)
            self._map = mmap.mmap(self._descriptor, os.fstat(self._descriptor).st_size)
        return self._map
