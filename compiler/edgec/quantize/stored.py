"""Numbers as a checkpoint stores them, read as arrays a part at a time.

Rule: rows are read where they lie; columns of a packed matrix come from one panel that is kept, so that a consumer that
walks through the output channels reads each byte once and holds a few MB.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgec.source.finite import check_finite
from edgec.source.model import DType, TensorInfo
from edgec.source.reader import TensorReader

_NUMPY: Mapping[DType, np.dtype[np.generic]] = {
    DType.F32: np.dtype("<f4"),
    DType.F16: np.dtype("<f2"),
    DType.BF16: np.dtype("<u2"),
    DType.I32: np.dtype("<i4"),
    DType.I8: np.dtype("i1"),
    DType.U8: np.dtype("u1"),
}
_PANEL_BYTES = 8 << 20


def read_rows(reader: TensorReader, info: TensorInfo, begin: int, end: int) -> NDArray[np.generic]:
    """Indices [begin, end) of the first axis, as stored (BF16 as its bits)."""
    shape = (end - begin, *info.shape[1:])
    row_bytes = info.nbytes // info.shape[0] if info.shape and info.shape[0] else 0
    out = np.empty(shape, _NUMPY[info.dtype])
    reader.pread(info, begin * row_bytes, out.nbytes, out.reshape(-1).view(np.uint8).data)
    return out


def read_floats(reader: TensorReader, info: TensorInfo, begin: int, end: int) -> NDArray[np.float32]:
    """Indices [begin, end) of the first axis of a float tensor. Raises InputError for NaN and infinities."""
    values = as_float32(read_rows(reader, info, begin, end), info.dtype)
    width = info.elements // info.shape[0] if info.shape and info.shape[0] else 1
    check_finite(values, tensor=info.name, file=info.file, first_index=begin * width)
    return values


def read_vector(reader: TensorReader, info: TensorInfo) -> NDArray[np.float32]:
    """All of a small float tensor, flat. Raises InputError for NaN and infinities."""
    flat = np.empty(info.elements, _NUMPY[info.dtype])
    reader.pread(info, 0, info.nbytes, flat.view(np.uint8).data)
    values = as_float32(flat, info.dtype)
    check_finite(values, tensor=info.name, file=info.file, first_index=0)
    return values


def as_float32(stored: NDArray[np.generic], dtype: DType) -> NDArray[np.float32]:
    """Stored floats as float32, exactly."""
    if dtype is DType.BF16:
        return (stored.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored.astype(np.float32, copy=False)


class Panels:
    """Columns of row-major matrices; keeps the last panel of each kind of tensor. Thread-safe."""

    def __init__(self, reader: TensorReader) -> None:
        self._reader = reader
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[str, int, NDArray[np.generic]]] = {}

    def columns(self, info: TensorInfo, begin: int, end: int) -> NDArray[np.generic]:
        """Columns [begin, end) of all rows, as stored."""
        kind = info.name.rsplit(".", maxsplit=1)[-1]
        with self._lock:
            name, first, panel = self._kept.get(kind, ("", 0, np.empty((0, 0), np.uint8)))
            if name != info.name or begin < first or end > first + panel.shape[1]:
                first = begin
                panel = self._read(info, begin, max(end, begin + self._width(info)))
                self._kept[kind] = (info.name, first, panel)
        return panel[:, begin - first : end - first]

    def _width(self, info: TensorInfo) -> int:
        return _PANEL_BYTES // max(1, info.shape[0] * info.dtype.itemsize)

    def _read(self, info: TensorInfo, begin: int, end: int) -> NDArray[np.generic]:
        rows, columns = info.shape
        end = min(end, columns)
        if begin == 0 and end == columns:
            return read_rows(self._reader, info, 0, rows)
        panel = np.empty((rows, end - begin), _NUMPY[info.dtype])
        raw, size = panel.view(np.uint8), info.dtype.itemsize
        for row in range(rows):
            start = (row * columns + begin) * size
            self._reader.pread(info, start, (end - begin) * size, raw[row].data)
        return panel
