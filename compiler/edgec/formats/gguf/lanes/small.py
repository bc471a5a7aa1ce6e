"""Q4_0, Q4_1, Q5_0 and Q5_1 with an importance matrix: blocks of 32, weights by the mean square of the row.

Without one ggml is as fast as the memory nearly, and does them itself.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf import ggml
from edgec.formats.gguf.lanes import affine, packing, symmetric
from edgec.formats.gguf.lanes.blocks import Bytes, Flags, Floats, Rows, means_of, steps_of, to_halves
from edgec.formats.gguf.lanes.k_symmetric import symmetric_steps
from edgec.formats.gguf.lanes.levels import set_affine, set_symmetric
from edgec.formats.gguf.lanes.tile import Weights
from edgec.formats.gguf.types import TensorType

_BLOCK = 32
# Levels per side (symmetric) or the greatest level (affine).
_TOPS = {TensorType.Q4_0: 8, TensorType.Q5_0: 16, TensorType.Q4_1: 15, TensorType.Q5_1: 31}


def quantize_symmetric(rows: Rows) -> None:
    """Quantize `rows` to Q4_0 or Q5_0 with ggml's bytes."""
    top, subs = _TOPS[rows.type], rows.blocks
    fits, odd = np.empty((symmetric.ROWS, len(subs)), np.float32), np.empty(len(subs), np.bool_)
    importance, steps = rows.columns_importance, symmetric_steps(top)
    symmetric.search(subs, int(Weights.ENERGY), importance, _means(rows), steps, np.float32(top), fits, odd)
    halves, _, too_large = to_halves(fits[symmetric.SCALE])
    levels = np.empty(subs.shape, np.uint8)
    set_symmetric(subs, fits[symmetric.INVERSE], np.zeros(len(subs), np.float32), np.int32(top), levels)
    _pack(rows, halves.view(np.uint8).reshape(-1, 2), levels, odd | too_large)


def quantize_affine(rows: Rows) -> None:
    """Quantize `rows` to Q4_1 or Q5_1 with ggml's bytes."""
    top, subs = _TOPS[rows.type], rows.blocks
    fits, odd = np.empty((affine.ROWS, len(subs)), np.float32), np.empty(len(subs), np.bool_)
    importance, steps = rows.columns_importance, steps_of(-0.9, 0.05, 37, top)
    affine.search(subs, int(Weights.ENERGY), importance, _means(rows), steps, np.float32(top), False, fits, odd)
    halves, _, too_large = to_halves(np.ascontiguousarray(fits[[affine.SCALE, affine.LOW]].T))
    levels = np.empty(subs.shape, np.uint8)
    zeros = np.zeros(len(subs), np.float32)
    set_affine(subs, fits, zeros, zeros, np.int32(top), levels)
    _pack(rows, halves.view(np.uint8), levels, odd | too_large.any(axis=1))


def _means(rows: Rows) -> tuple[Floats, int]:
    columns = rows.values.shape[1]
    return means_of(rows.values, 1.0, columns, columns // _BLOCK)


def _pack(rows: Rows, halves: Bytes, levels: Bytes, special: Flags) -> None:
    packed = rows.packed
    packed[:, : halves.shape[1]] = halves
    if rows.type in {TensorType.Q5_0, TensorType.Q5_1}:
        packing.pack_row_bits(levels, 4, packed, halves.shape[1])
    packing.pack_nibbles(levels, 16, packed, packed.shape[1] - 16)
    # The weights of a block depend on its whole row.
    for row in np.flatnonzero(special.reshape(len(rows.values), -1).any(axis=1)):
        out = rows.out.reshape(len(rows.values), -1)[row]
        ggml.quantize(rows.type, rows.values[row : row + 1], out, rows.importance)
