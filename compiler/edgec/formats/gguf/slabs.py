"""One slab of a tensor: whole rows, read, checked and transformed once, then quantized for each output that wants it.

Rule: the bytes of a slab depend on nothing but its rows and the encoding, so any number of workers and any company of
outputs makes the same; memory is a constant per worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf import ggml
from edgec.formats.gguf.model import TensorMapping
from edgec.formats.gguf.source_rows import Quantize, SourceRows, StoredRows
from edgec.formats.gguf.types import TensorType
from edgec.source.finite import check_finite
from edgec.source.model import DType, TensorInfo
from edgec.source.reader import TensorReader

T = TypeVar("T", bound=np.generic)

# Elements per slab: 1 MiB of 16-bit floats, so that the steps find each other's results in the cache.
_SLAB_ELEMENTS = 1 << 19
# Rows per tensor whose quantization error is measured.
_SAMPLED_ROWS = 64

_COPIES = {DType.F32: TensorType.F32, DType.F16: TensorType.F16, DType.BF16: TensorType.BF16}
# The smallest magnitude, as bits, that is not finite.
_NOT_FINITE = {DType.F16: 0x7C00, DType.BF16: 0x7F80}


@dataclass(frozen=True)
class Slab:
    """Rows `first_row` to `first_row + rows` of a tensor; slab `index` of `count`. `source`: None if computed."""

    mapping: TensorMapping
    source: TensorInfo | None
    index: int
    count: int
    first_row: int
    rows: int

    @property
    def first_element(self) -> int:
        """The flat index in the tensor of its first element."""
        return self.first_row * self.mapping.columns

    @property
    def source_range(self) -> tuple[int, int]:
        """Where its bytes begin in the source's tensor, and how many they are; nothing of a computed one."""
        row_bytes = self.mapping.columns * self.source.dtype.itemsize if self.source is not None else 0
        return self.first_row * row_bytes, self.rows * row_bytes


@dataclass(frozen=True, eq=False)
class Encoding:
    """What rows become: a type, with the importance of each column (columns,) or without, and who quantizes."""

    type: TensorType
    importance: NDArray[np.float32] | None
    quantize: Quantize


@dataclass(frozen=True)
class EncodedSlab:
    """The rows' bytes. Sums of squares over the sampled rows: errors, source values."""

    data: memoryview
    error_sum: float = 0.0
    source_sum: float = 1.0


def slabs_of(mapping: TensorMapping, source: TensorInfo | None) -> list[Slab]:
    """The slabs of a tensor, in order: whole rows, and whole heads where rows are reordered within a head."""
    heads = mapping.unpermute_heads
    unit = mapping.height // heads if heads and mapping.height > 1 else 1
    step = max(1, _SLAB_ELEMENTS // (unit * mapping.columns)) * unit
    starts = range(0, mapping.height, step)
    return [Slab(mapping, source, i, len(starts), r, min(step, mapping.height - r)) for i, r in enumerate(starts)]


def unpermute(values: NDArray[T], heads: int) -> NDArray[T]:
    """Interleave the two rotary halves of each head: rows (head, half, pair) become (head, pair, half). A copy."""
    halves = values.reshape(heads, 2, -1, values.shape[-1] if values.ndim > 1 else 1)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


class SlabWorker:
    """Buffers of one thread, grown to the largest slab met and used again for every slab."""

    def __init__(self, reader: TensorReader) -> None:
        self._reader = reader
        self._raw = np.empty(0, np.uint8)
        self._values = np.empty(0, np.float32)
        self._out = np.empty(0, np.uint8)

    def process(self, slab: Slab, encodings: Iterable[Encoding]) -> Iterator[EncodedSlab]:
        """The bytes of `slab` in each of `encodings`, in order; each is valid until the next is asked for.

        Raises InputError for weights that are not finite, ToolError when reads fail.
        """
        stored = self._read(slab)
        rows: SourceRows | None = None
        for encoding in encodings:
            if _is_copy(slab, encoding.type):
                yield EncodedSlab(stored.data.cast("B"))
                continue
            if rows is None:
                rows = self._transformed(slab, stored)
            yield self._encoded(slab, rows, encoding)

    def _read(self, slab: Slab) -> StoredRows:
        """The rows (rows, columns), checked, in the output's order."""
        source = slab.source
        if source is None:
            return _constant(slab)
        start, size = slab.source_range
        self._raw = _grown(self._raw, size)
        raw = self._raw[:size]
        self._reader.pread(source, start, size, raw.data)
        if source.dtype is DType.F32:
            values = raw.view(np.float32)
            check_finite(values, tensor=source.name, file=source.file, first_index=slab.first_element)
            return _reordered(values.reshape(slab.rows, -1), slab)
        bits = raw.view(np.uint16)
        if int((bits & 0x7FFF).max(initial=0)) >= _NOT_FINITE[source.dtype]:
            values = self._as_float32(SourceRows(bits, source.dtype))
            check_finite(values, tensor=source.name, file=source.file, first_index=slab.first_element)
        return _reordered(bits.reshape(slab.rows, -1), slab)

    def _transformed(self, slab: Slab, stored: StoredRows) -> SourceRows:
        """The rows with the mapping's constant. May use the memory of `stored`, which is no copy's then."""
        rows = SourceRows(stored, slab.source.dtype if slab.source is not None else DType.F32)
        if not slab.mapping.add:
            return rows
        values = self._as_float32(rows)
        np.add(values, np.float32(slab.mapping.add), out=values)
        return SourceRows(values, DType.F32)

    def _as_float32(self, rows: SourceRows) -> NDArray[np.float32]:
        """All values, until the next call."""
        self._values = _grown(self._values, 0 if rows.dtype is DType.F32 else rows.bits.size)
        return rows.as_float32(self._values)

    def _encoded(self, slab: Slab, rows: SourceRows, encoding: Encoding) -> EncodedSlab:
        if encoding.type is TensorType.F32:
            return EncodedSlab(self._as_float32(rows).data.cast("B"))
        size = slab.rows * encoding.type.row_bytes(slab.mapping.columns)
        self._out = _grown(self._out, size)
        out = self._out[:size]
        encoding.quantize(encoding.type, rows, out, encoding.importance)
        return EncodedSlab(out.data, *_sampled_error(slab, rows, encoding.type, out))


def _is_copy(slab: Slab, tensor_type: TensorType) -> bool:
    dtype = slab.source.dtype if slab.source is not None else DType.F32
    return _COPIES[dtype] is tensor_type and not slab.mapping.add


def _constant(slab: Slab) -> NDArray[np.float32]:
    constant = slab.mapping.constant or ()
    elements = slab.rows * slab.mapping.columns
    return np.array(constant[slab.first_element :][:elements], np.float32).reshape(slab.rows, -1)


def _reordered(rows: NDArray[T], slab: Slab) -> NDArray[T]:
    """`rows` (rows, columns) in the output's order."""
    heads, height = slab.mapping.unpermute_heads, slab.mapping.height
    if not heads:
        return rows
    if height == 1:
        return unpermute(rows.reshape(-1, 1), heads).reshape(rows.shape)
    return unpermute(rows, heads * slab.rows // height)


def _sampled_error(
    slab: Slab, rows: SourceRows, tensor_type: TensorType, out: NDArray[np.uint8]
) -> tuple[float, float]:
    stride = max(1, slab.mapping.height // _SAMPLED_ROWS)
    sampled = slice(-slab.first_row % stride, slab.rows, stride)
    taken = rows.take(sampled)
    source = taken.as_float32(np.empty(taken.bits.size, np.float32)).reshape(-1)
    data = np.ascontiguousarray(out.reshape(slab.rows, -1)[sampled]).reshape(-1)
    error = ggml.dequantize(tensor_type, data, source.size) - source
    return float(np.sum(error * error, dtype=np.float64)), float(np.sum(source * source, dtype=np.float64))


def _grown(buffer: NDArray[T], size: int) -> NDArray[T]:
    return buffer if buffer.size >= size else np.empty(size, buffer.dtype)
