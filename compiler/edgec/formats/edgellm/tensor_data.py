"""Reads the exported tensors: rows of an initializer, wherever its bytes lie.

Rule: nothing outside the data file is read, whatever model.onnx says, and a read is whole or an error.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgec.formats.edgellm.onnx_file import NUMPY_TYPES, damaged
from edgec.source.onnx_graph import Initializer


class TensorData:
    """The tensors in one file. Thread-safe; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise damaged(f"cannot be opened: {error.strerror}", self.path) from error
        self.size_bytes = os.fstat(self._descriptor).st_size

    def __enter__(self) -> TensorData:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        os.close(self._descriptor)

    def check_place(self, tensor: Initializer) -> None:
        """Raises ToolError when the tensor's bytes are not all there, or elsewhere than in the data file."""
        dtype = NUMPY_TYPES.get(tensor.elem_type)
        if dtype is None:
            raise damaged(f"tensor '{tensor.name}' has the unexpected element type {tensor.elem_type}", self.path)
        need = math.prod(tensor.shape) * dtype.itemsize
        inside = tensor.raw is not None or (
            tensor.location == self.path.name and 0 <= tensor.offset <= self.size_bytes - tensor.nbytes
        )
        if tensor.nbytes != need or not inside or any(d < 0 for d in tensor.shape):
            raise damaged(f"tensor '{tensor.name}' of {need} bytes is not in the data file as announced", self.path)

    def rows(self, tensor: Initializer, begin: int, end: int) -> NDArray[np.generic]:
        """Indices [begin, end) of the tensor's first axis. Raises ToolError when they are not there."""
        self.check_place(tensor)
        dtype = NUMPY_TYPES[tensor.elem_type]
        row_bytes = math.prod(tensor.shape[1:]) * dtype.itemsize
        shape = (end - begin, *tensor.shape[1:])
        if tensor.raw is not None:
            return np.frombuffer(tensor.raw, dtype)[begin * row_bytes // dtype.itemsize :][: math.prod(shape)].reshape(
                shape
            )
        out = np.empty(shape, dtype)
        view, position = out.reshape(-1).view(np.uint8).data, tensor.offset + begin * row_bytes
        while view:
            got = os.preadv(self._descriptor, [view], position)
            if got == 0:
                raise damaged(f"the file ended inside tensor '{tensor.name}'", self.path)
            view, position = view[got:], position + got
        return out

    def whole(self, tensor: Initializer) -> NDArray[np.generic]:
        """All of a tensor, in its shape."""
        if not tensor.shape:
            flat = Initializer(**{**vars(tensor), "shape": (1,)})
            return self.rows(flat, 0, 1).reshape(())
        return self.rows(tensor, 0, tensor.shape[0])

    def columns(self, tensor: Initializer, begin: int, end: int) -> NDArray[np.generic]:
        """Columns [begin, end) of a matrix, as rows: the transpose of that part."""
        rows, width = tensor.shape
        dtype = NUMPY_TYPES[tensor.elem_type]
        self.check_place(tensor)
        out = np.empty((rows, end - begin), dtype)
        step = max(1, (8 << 20) // max(1, width * dtype.itemsize))
        for first in range(0, rows, step):
            last = min(rows, first + step)
            out[first:last] = self.rows(tensor, first, last)[:, begin:end]
        return np.ascontiguousarray(out.T)
