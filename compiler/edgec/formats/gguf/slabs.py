"""One slab of a tensor: whole rows, read, checked, transformed and quantized in a worker's own buffers.

Rule: the result of a slab depends on nothing but its rows, so any number of workers makes the same bytes; memory is a
constant per worker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf import ggml
from edgec.formats.gguf.layout import TensorPlan
from edgec.formats.gguf.types import TensorType
from edgec.source.finite import check_finite
from edgec.source.model import DType, TensorInfo
from edgec.source.reader import TensorReader

T = TypeVar("T", bound=np.generic)

# A function with the arguments and the bytes of `ggml.quantize`.
Quantize = Callable[[TensorType, NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32] | None], None]

# Elements per slab: 2 MiB as float32, so that the steps find each other's results in the cache.
_SLAB_ELEMENTS = 1 << 19
# Rows per tensor whose quantization error is measured.
_SAMPLED_ROWS = 64

_COPIES = {DType.F32: TensorType.F32, DType.F16: TensorType.F16, DType.BF16: TensorType.BF16}
# The smallest magnitude, as bits, that is not finite.
_NOT_FINITE = {DType.F16: 0x7C00, DType.BF16: 0x7F80}


@dataclass(frozen=True)
class Slab:
    """Rows `first_row` to `first_row + rows` of a tensor; slab `index` of `count`."""

    tensor: TensorPlan
    index: int
    count: int
    first_row: int
    rows: int

    @property
    def offset(self) -> int:
        """Where its bytes begin in the output file."""
        return self.tensor.offset + self.first_row * self.tensor.type.row_bytes(self.tensor.columns)


@dataclass(frozen=True)
class SlabResult:
    """`data` is valid until the worker's next slab. Sums of squares over the sampled rows: errors, source values."""

    data: memoryview
    error_sum: float
    source_sum: float


def slabs_of(tensor: TensorPlan) -> list[Slab]:
    """The slabs of `tensor`, in order: whole rows, and whole heads where rows are reordered within a head."""
    heads = tensor.mapping.unpermute_heads
    unit = tensor.rows // heads if heads and tensor.rows > 1 else 1
    step = max(1, _SLAB_ELEMENTS // (unit * tensor.columns)) * unit
    starts = range(0, tensor.rows, step)
    return [Slab(tensor, i, len(starts), r, min(step, tensor.rows - r)) for i, r in enumerate(starts)]


def unpermute(values: NDArray[T], heads: int) -> NDArray[T]:
    """Interleave the two rotary halves of each head: rows (head, half, pair) become (head, pair, half). A copy."""
    halves = values.reshape(heads, 2, -1, values.shape[-1] if values.ndim > 1 else 1)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


class SlabWorker:
    """Buffers of one thread, grown to the largest slab met and used again for every slab."""

    def __init__(self, reader: TensorReader, quantize: Quantize) -> None:
        self._reader = reader
        self._quantize = quantize
        self._raw = np.empty(0, np.uint8)
        self._values = np.empty(0, np.float32)
        self._out = np.empty(0, np.uint8)

    def process(self, slab: Slab, importance: NDArray[np.float32] | None) -> SlabResult:
        """The output bytes of `slab`. Raises InputError for weights that are not finite, ToolError when reads fail."""
        tensor = slab.tensor
        source = tensor.source
        if source is not None and _COPIES[source.dtype] is tensor.type and not tensor.mapping.add:
            return SlabResult(self._copy(slab, source).data.cast("B"), 0.0, 1.0)
        values = self._constant(slab) if source is None else self._read_values(slab, source)
        values = _transform(values, slab)
        if tensor.type is TensorType.F32:
            return SlabResult(values.data.cast("B"), 0.0, 1.0)
        size = slab.rows * tensor.type.row_bytes(tensor.columns)
        self._out = _grown(self._out, size)
        out = self._out[:size]
        self._quantize(tensor.type, values, out, importance)
        return SlabResult(out.data, *_sampled_error(slab, values, out))

    def _read_raw(self, slab: Slab, source: TensorInfo) -> NDArray[np.uint8]:
        row_bytes = slab.tensor.columns * source.dtype.itemsize
        size = slab.rows * row_bytes
        self._raw = _grown(self._raw, size)
        raw = self._raw[:size]
        self._reader.pread(source, slab.first_row * row_bytes, size, raw.data)
        return raw

    def _copy(self, slab: Slab, source: TensorInfo) -> NDArray[np.generic]:
        """The rows in the source's own type, checked."""
        raw = self._read_raw(slab, source)
        first = slab.first_row * slab.tensor.columns
        if source.dtype is DType.F32:
            check_finite(raw.view(np.float32), tensor=source.name, file=source.file, first_index=first)
            return _transform(raw.view(np.uint32).reshape(slab.rows, -1), slab)
        bits = raw.view(np.uint16)
        if int((bits & 0x7FFF).max(initial=0)) >= _NOT_FINITE[source.dtype]:
            self._widened(bits, slab, source)
        return _transform(bits.reshape(slab.rows, -1), slab)

    def _read_values(self, slab: Slab, source: TensorInfo) -> NDArray[np.float32]:
        raw = self._read_raw(slab, source)
        if source.dtype is not DType.F32:
            return self._widened(raw.view(np.uint16), slab, source)
        values = raw.view(np.float32)
        first = slab.first_row * slab.tensor.columns
        check_finite(values, tensor=source.name, file=source.file, first_index=first)
        return values.reshape(slab.rows, -1)

    def _widened(self, bits: NDArray[np.uint16], slab: Slab, source: TensorInfo) -> NDArray[np.float32]:
        self._values = _grown(self._values, bits.size)
        values = self._values[: bits.size]
        ggml.widen(bits, values, brain=source.dtype is DType.BF16)
        first = slab.first_row * slab.tensor.columns
        check_finite(values, tensor=source.name, file=source.file, first_index=first)
        return values.reshape(slab.rows, -1)

    @staticmethod
    def _constant(slab: Slab) -> NDArray[np.float32]:
        columns = slab.tensor.columns
        begin = slab.first_row * columns
        constant = slab.tensor.mapping.constant or ()
        return np.array(constant[begin : begin + slab.rows * columns], np.float32).reshape(slab.rows, columns)


def _transform(values: NDArray[T], slab: Slab) -> NDArray[T]:
    """Apply the mapping's constant and row order to `values` (rows, columns)."""
    mapping, tensor = slab.tensor.mapping, slab.tensor
    if mapping.add:
        np.add(values, np.float32(mapping.add), out=values)
    if not mapping.unpermute_heads:
        return values
    if tensor.rows == 1:
        return unpermute(values.reshape(-1, 1), mapping.unpermute_heads).reshape(values.shape)
    return unpermute(values, mapping.unpermute_heads * slab.rows // tensor.rows)


def _sampled_error(slab: Slab, values: NDArray[np.float32], out: NDArray[np.uint8]) -> tuple[float, float]:
    tensor = slab.tensor
    stride = max(1, tensor.rows // _SAMPLED_ROWS)
    rows = np.arange(-slab.first_row % stride, slab.rows, stride)
    source = values[rows]
    data = np.ascontiguousarray(out.reshape(slab.rows, -1)[rows]).reshape(-1)
    error = ggml.dequantize(tensor.type, data, source.size) - source.reshape(-1)
    return float(np.sum(error * error, dtype=np.float64)), float(np.sum(source * source, dtype=np.float64))


def _grown(buffer: NDArray[T], size: int) -> NDArray[T]:
    return buffer if buffer.size >= size else np.empty(size, buffer.dtype)
