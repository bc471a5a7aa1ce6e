"""What the quantizers of all types share: views of their input and output, and blocks that ggml does after all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf import ggml
from edgec.formats.gguf.lanes.indices import mark_blocks
from edgec.formats.gguf.lanes.tile import mean_squares
from edgec.formats.gguf.types import TensorType

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
_NONE = np.zeros(1, np.float32)


@dataclass(frozen=True)
class Rows:
    """Rows to quantize: `values` (rows, columns), `out` (rows * row_bytes,), one importance per column or None."""

    type: TensorType
    values: Floats
    out: Bytes
    importance: Floats | None

    @property
    def blocks(self) -> Floats:
        """The values as (blocks, elements of a block)."""
        return self.values.reshape(-1, self.type.block_elements)

    @property
    def packed(self) -> Bytes:
        """The output as (blocks, bytes of a block)."""
        return self.out.reshape(-1, self.type.block_bytes)

    def subs(self, elements: int) -> Floats:
        """The values as (sub-blocks, elements)."""
        return self.values.reshape(-1, elements)

    @property
    def columns_importance(self) -> Floats:
        """The importance, or something of its type for kernels that do not read it."""
        if self.importance is None:
            return _NONE
        # Read-only arrays are another type to numba, which would compile once more.
        return self.importance if self.importance.flags.writeable else self.importance.copy()

    def give_to_ggml(self, special: Flags) -> None:
        """Let ggml do the blocks (count) that `special` marks."""
        per_row = self.values.shape[1] // self.type.block_elements
        for index in np.flatnonzero(special):
            column = int(index) % per_row * self.type.block_elements
            importance = None
            if self.importance is not None:
                importance = self.importance[column : column + self.type.block_elements]
            ggml.quantize(self.type, self.blocks[index : index + 1], self.packed[index], importance)


def means_of(groups: Floats, factor: float, divisor: float, per_mean: int) -> tuple[Floats, int]:
    """A search's `means`: factor * sum / divisor of the squares of each group, which is `per_mean` sub-blocks."""
    means = np.empty(len(groups), np.float32)
    mean_squares(groups, np.float32(factor), np.float32(divisor), means)
    return means, per_mean


def special_blocks(odd: Flags, per_block: int) -> Flags:
    """Which blocks of `per_block` sub-blocks have one that is odd."""
    special = np.empty(odd.size // per_block, np.bool_)
    mark_blocks(odd, special)
    return special


NO_MEANS = (_NONE, 1)


def steps_of(first: float, delta: float, count: int, top: int, *, skip: int | None = None) -> Floats:
    """ggml's inverse scales (first + delta * i) + top in float32, without the one of index `skip`."""
    steps = [np.float32(first) + np.float32(delta) * np.float32(i) + np.float32(top) for i in range(count) if i != skip]
    return np.array(steps, np.float32)


def to_halves(values: Floats) -> tuple[NDArray[np.float16], Floats, Flags]:
    """`values` rounded to half precision; that as float32, with zeros for what is too large; and what is too large."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        halves = values.astype(np.float16)
    factors = halves.astype(np.float32)
    too_large = ~np.isfinite(factors)
    factors[too_large] = 0
    return halves, factors, too_large
