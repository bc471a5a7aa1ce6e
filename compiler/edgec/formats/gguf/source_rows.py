"""Rows as the source stores them, read as float32 a chunk at a time.

Rule: 16-bit floats are widened into a buffer that the processor's caches hold and that is used at once, never as a pass
over the memory of its own; widening is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf import ggml
from edgec.formats.gguf.types import TensorType
from edgec.source.model import DType

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

# Float32, or 16-bit floats as their bits.
StoredRows = NDArray[np.float32] | NDArray[np.uint16]

# Elements per chunk: 1 MiB as float32, and what quantization keeps beside them.
_CHUNK_ELEMENTS = 1 << 18


@dataclass(frozen=True, eq=False)
class SourceRows:
    """Rows (rows, columns) of type `dtype`."""

    bits: StoredRows
    dtype: DType

    def as_float32(self, buffer: Floats) -> Floats:
        """The values (rows, columns), in `buffer` (at least as many elements) unless they are float32 already."""
        if self.dtype is DType.F32:
            return self.bits.view(np.float32)
        values = buffer[: self.bits.size]
        ggml.widen(self.bits.view(np.uint16).reshape(-1), values, brain=self.dtype is DType.BF16)
        return values.reshape(self.bits.shape)

    def take(self, rows: slice) -> SourceRows:
        """Some of the rows."""
        bits = self.bits[rows]
        return SourceRows(bits if bits.flags.c_contiguous else bits.copy(), self.dtype)


# Quantizes values (rows, columns) of a type into bytes (rows * row_bytes,), with the importance of each column or None.
QuantizeValues = Callable[[TensorType, Floats, Bytes, Floats | None], None]
# The same from rows as the source stores them.
Quantize = Callable[[TensorType, SourceRows, Bytes, Floats | None], None]


def by_chunks(quantize: QuantizeValues) -> Quantize:
    """`quantize` for rows as the source stores them; its result may not depend on how many rows it gets."""

    def quantize_rows(tensor_type: TensorType, rows: SourceRows, out: Bytes, importance: Floats | None) -> None:
        count, columns = rows.bits.shape
        step, row_bytes = max(1, _CHUNK_ELEMENTS // columns), tensor_type.row_bytes(columns)
        buffer = np.empty(0 if rows.dtype is DType.F32 else min(step, count) * columns, np.float32)
        for first in range(0, count, step):
            chunk = rows.take(slice(first, first + step))
            part = out[first * row_bytes : (first + chunk.bits.shape[0]) * row_bytes]
            quantize(tensor_type, chunk.as_float32(buffer), part, importance)

    return quantize_rows
