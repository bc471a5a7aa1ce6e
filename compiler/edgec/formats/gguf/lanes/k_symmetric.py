"""Q3_K and Q6_K: blocks of 256 with a scale per sub-block of 16."""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes import descent, packing, symmetric
from edgec.formats.gguf.lanes.blocks import NO_MEANS, Bytes, Flags, Floats, Rows, means_of, special_blocks, to_halves
from edgec.formats.gguf.lanes.compiled import SMALLEST_MAGNITUDE
from edgec.formats.gguf.lanes.indices import index_by_peak, index_by_symmetric_fit
from edgec.formats.gguf.lanes.levels import set_symmetric
from edgec.formats.gguf.lanes.tile import Weights

_BLOCK, _SUB = 256, 16
_PER_BLOCK = _BLOCK // _SUB


def symmetric_steps(top: int) -> Floats:
    """make_qx_quants: -(top + 0.1 * i) for i in -9..9 without 0."""
    return np.array([-(np.float32(top) + np.float32(0.1) * np.float32(i)) for i in range(-9, 10) if i], np.float32)


def quantize_q6_k(rows: Rows) -> None:
    """Quantize `rows` with ggml's bytes."""
    kind = Weights.SQUARE if rows.importance is None else Weights.IMPORTANCE
    fits, odd = _search(rows, kind, NO_MEANS, 32)
    scales = fits[symmetric.SCALE].reshape(-1, _PER_BLOCK)
    special = special_blocks(odd, _PER_BLOCK)
    factor, index = np.empty(len(special), np.float32), np.empty(scales.shape, np.int8)
    index_by_peak(scales, np.float32(128), SMALLEST_MAGNITUDE, factor, index, special)
    halves, factors, too_large = to_halves(factor)
    special |= too_large
    levels = _levels(rows, fits[symmetric.INVERSE], factors[:, None] * index, 32)
    packed = rows.packed
    packing.pack_nibbles(levels, 64, packed, 0)
    packing.pack_pairs(levels, 4, packed, 128)
    packed[:, 192:208] = index.view(np.uint8)
    packed[:, 208:] = halves.view(np.uint8).reshape(-1, 2)
    packed[factor == 0] = 0
    rows.give_to_ggml(special)


def quantize_q3_k(rows: Rows) -> None:
    """Quantize `rows` with ggml's bytes."""
    per_block = (-1, _PER_BLOCK)
    if rows.importance is None:
        inverse, factor, index, special = _descend(rows)
    else:
        means = means_of(rows.blocks, 2.0, _BLOCK, _PER_BLOCK)
        fits, odd = _search(rows, Weights.ENERGY, means, 4)
        inverse, special = fits[symmetric.INVERSE], special_blocks(odd, _PER_BLOCK)
        factor, index = np.empty(len(special), np.float32), np.empty((len(special), _PER_BLOCK), np.uint8)
        scales, weights = fits[symmetric.SCALE].reshape(per_block), fits[symmetric.WEIGHT].reshape(per_block)
        index_by_symmetric_fit(scales, weights, symmetric_steps(32), np.float32(32), factor, index, special)
    halves, factors, too_large = to_halves(factor)
    special |= too_large
    sub_scales = factors[:, None] * (index.astype(np.int8) - np.int8(32))
    if rows.importance is None:
        # The levels of a descent are not kept: where ggml would keep them, ggml does the block.
        special |= ((sub_scales == 0) & (inverse.reshape(per_block) != 0)).any(axis=1)
    levels = _levels(rows, inverse, sub_scales, 4)
    packed = rows.packed
    packing.pack_planes(levels, 2, packed, 0)
    packing.pack_pairs(levels, 0, packed, 32)
    packing.pack_six_bits(index, packed, 96)
    packed[:, 108:] = halves.view(np.uint8).reshape(-1, 2)
    rows.give_to_ggml(special)


def _search(rows: Rows, kind: Weights, means: tuple[Floats, int], top: int) -> tuple[Floats, Flags]:
    subs = rows.subs(_SUB)
    fits, odd = np.empty((symmetric.ROWS, len(subs)), np.float32), np.empty(len(subs), np.bool_)
    importance, steps = rows.columns_importance, symmetric_steps(top)
    symmetric.search(subs, int(kind), importance, means, steps, np.float32(top), fits, odd)
    return fits, odd


def _levels(rows: Rows, inverse: Floats, sub_scales: Floats, top: int) -> Bytes:
    subs = rows.subs(_SUB)
    levels = np.empty(subs.shape, np.uint8)
    set_symmetric(subs, inverse, sub_scales.reshape(-1), np.int32(top), levels)
    return levels.reshape(-1, _BLOCK)


def _descend(rows: Rows) -> tuple[Floats, Floats, Bytes, Flags]:
    """Q3_K without importance: inverse (0 for sub-blocks of zeros only), factor, index, special blocks."""
    subs = rows.subs(_SUB)
    scales, flat, odd = np.empty(len(subs), np.float32), np.empty(len(subs), np.bool_), np.empty(len(subs), np.bool_)
    descent.search_descent(subs, np.float32(4), scales, flat, odd)
    special = special_blocks(odd, _PER_BLOCK)
    factor, index = np.empty(len(special), np.float32), np.empty((len(special), _PER_BLOCK), np.int8)
    index_by_peak(scales.reshape(-1, _PER_BLOCK), np.float32(32), np.float32(0), factor, index, special)
    stored = (index + np.int8(32)).astype(np.uint8)
    stored[factor == 0] = 0
    return np.where(flat, np.float32(0), np.float32(1)), factor, stored, special
