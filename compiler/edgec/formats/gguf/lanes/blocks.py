"""What the quantizers of all types share: views of their input and output, and the blocks' half-precision factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf.lanes.compiled import compiled
from edgec.formats.gguf.lanes.rounding import from_half, is_finite_half, to_bits, to_half
from edgec.formats.gguf.lanes.tile import mean_squares, padded
from edgec.formats.gguf.types import TensorType

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Rows:
    """Rows to quantize: `values` (rows, columns), `out` (rows * row_bytes,), one importance per column or None."""

    type: TensorType
    values: Floats
    out: Bytes
    importance: Floats | None

    @property
    def packed(self) -> Bytes:
        """The output as (blocks, bytes of a block)."""
        return self.out.reshape(-1, self.type.block_bytes)

    @property
    def flat(self) -> Floats:
        """The values in file order."""
        return self.values.reshape(-1)

    def subs(self, elements: int) -> Floats:
        """The values as (sub-blocks, elements)."""
        return self.values.reshape(-1, elements)

    def weights(self, elements: int) -> Floats:
        """The importance as (sub-blocks of a row, elements); zeros for kernels that do not read it."""
        if self.importance is None:
            return np.zeros((1, elements), np.float32)
        # Read-only arrays are another type to numba, which would compile once more.
        importance = self.importance if self.importance.flags.writeable else self.importance.copy()
        return importance.reshape(-1, elements)

    def means(self, elements: int, group: int, factor: float, divisor: float) -> Floats:
        """For sub-blocks of `elements`: factor * sum / divisor of the squares of their group of `group` values."""
        means = np.empty(padded(self.values.size // elements), np.float32)
        if self.importance is not None:
            per_group = group // elements
            mean_squares(self.values.reshape(-1, group), np.float32(factor), np.float32(divisor), per_group, means)
        return means


def steps_of(first: float, delta: float, count: int, top: int) -> Floats:
    """ggml's inverse scales (first + delta * i) + top in float32."""
    return np.array([np.float32(first) + np.float32(delta) * np.float32(i) + np.float32(top) for i in range(count)])


def steps_around(top: int, reach: int) -> Floats:
    """ggml's inverse scales top + 0.1 * i in float32, for i in -reach..reach without 0."""
    steps = [np.float32(0.1) * np.float32(i) + np.float32(top) for i in range(-reach, reach + 1) if i]
    return np.array(steps, np.float32)


@compiled
def store_halves(factors, out, at):  # type: ignore[no-untyped-def]
    """Round `factors` (blocks) to half precision and put their bytes at `at` in `out`; whether all are finite."""
    finite = True
    for b in range(out.shape[0]):
        half = to_half(factors[b])
        finite &= is_finite_half(half)
        factors[b] = from_half(half)
        out[b, at], out[b, at + 1] = np.uint8(half & 0xFF), np.uint8(half >> 8)
    return finite


@compiled
def are_zeros(values):  # type: ignore[no-untyped-def]
    """Whether all bits of `values` (elements,) are zero: minus zero is another number to some types."""
    count = 0
    while count < values.size and to_bits(values[count]) == 0:
        count += 1
    return count == values.size
