"""Writes a safetensors file at offsets known beforehand: headers first, then rows of tensors in any order.

Rule: the size and every offset follow from names, types and shapes alone, so that nothing large is held in memory and
two writers of the same tensors make the same bytes. What is not written stays zero: `close` refuses that.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgec.source.safetensors import LENGTH_BYTES
from edgec.store.atomic import explained

# Names of the format -> the arrays that `SafetensorsFile.write` takes. BF16 travels as its bits.
NUMPY_DTYPES: Mapping[str, np.dtype[np.generic]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I32": np.dtype("<i4"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
_ALIGNMENT = 8


@dataclass(frozen=True)
class TensorSpec:
    """A tensor to be written: a dtype of `NUMPY_DTYPES`, and its row-major shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of one index of the first axis (of the one element, for a scalar)."""
        return math.prod(self.shape[1:]) * NUMPY_DTYPES[self.dtype].itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return math.prod(self.shape) * NUMPY_DTYPES[self.dtype].itemsize


@dataclass(frozen=True)
class SafetensorsLayout:
    """Where everything of one file lies. `offsets` are from the start of the file, in the order of the file."""

    header: bytes
    tensors: Mapping[str, TensorSpec]
    offsets: Mapping[str, int]
    size_bytes: int


def plan_safetensors(tensors: Iterable[TensorSpec], metadata: Mapping[str, str] | None = None) -> SafetensorsLayout:
    """The layout of a file with these tensors, in their order. Raises ValueError for a name that stands twice."""
    by_name: dict[str, TensorSpec] = {}
    entries: dict[str, object] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    begins: dict[str, int] = {}
    position = 0
    for tensor in tensors:
        if tensor.name in by_name:
            raise ValueError(f"{tensor.name} stands twice")
        by_name[tensor.name] = tensor
        begins[tensor.name] = position
        end = position + tensor.nbytes
        entries[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    header = len(text).to_bytes(LENGTH_BYTES, "little") + text
    return SafetensorsLayout(header, by_name, {n: len(header) + b for n, b in begins.items()}, len(header) + position)


class SafetensorsFile:
    """A file being written by a layout. Thread-safe: writes carry their own position. Use as a context manager.

    The caller writes into a folder that is renamed when all is done; a file that was left by an exception is partial.
    """

    def __init__(self, path: Path, layout: SafetensorsLayout) -> None:
        self.layout = layout
        self._path = path
        self._lock = threading.Lock()
        self._left = {name: t.nbytes for name, t in layout.tensors.items()}
        with explained(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.ftruncate(self._descriptor, layout.size_bytes)
            self._pwrite(layout.header, 0)

    def __enter__(self) -> SafetensorsFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            os.close(self._descriptor)

    def write(self, name: str, rows: NDArray[np.generic], first_row: int = 0) -> None:
        """Writes `rows` of tensor `name`, from index `first_row` of its first axis on.

        Raises ValueError for another dtype or shape than the layout's, ToolError when the disk refuses.
        """
        spec = self.layout.tensors[name]
        fits = rows.shape[1:] == spec.shape[1:] and (not spec.shape or first_row + len(rows) <= spec.shape[0])
        if rows.dtype != NUMPY_DTYPES[spec.dtype] or not fits:
            raise ValueError(f"{name}: {rows.dtype} {rows.shape} at row {first_row} of {spec.dtype} {spec.shape}")
        data = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        with explained(self._path):
            self._pwrite(data.data, self.layout.offsets[name] + first_row * spec.row_bytes)
        with self._lock:
            self._left[name] -= data.nbytes

    def already_written(self, name: str) -> None:
        """Marks a tensor that an interrupted run has finished, as its journal says."""
        with self._lock:
            self._left[name] = 0

    def sync(self) -> None:
        """Makes what was written so far durable."""
        with explained(self._path):
            os.fsync(self._descriptor)

    def _pwrite(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data).cast("B")
        while view:
            done = os.pwrite(self._descriptor, view, offset)
            view, offset = view[done:], offset + done

    def _finish(self) -> None:
        missing = sorted(name for name, left in self._left.items() if left != 0)
        if missing:
            raise ValueError(f"{self._path.name}: not written, or not once: {', '.join(missing[:5])}")
        with explained(self._path):
            os.fsync(self._descriptor)
