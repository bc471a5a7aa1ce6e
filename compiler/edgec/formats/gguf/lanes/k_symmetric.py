"""Q3_K and Q6_K: blocks of 256 with a scale per sub-block of 16."""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes import descent, packing, symmetric
from edgec.formats.gguf.lanes.blocks import Bytes, Floats, Rows, steps_around, store_halves
from edgec.formats.gguf.lanes.compiled import SMALLEST_MAGNITUDE
from edgec.formats.gguf.lanes.indices import index_by_peak, index_by_symmetric_fit
from edgec.formats.gguf.lanes.levels import keep_levels, set_symmetric
from edgec.formats.gguf.lanes.tile import Weights, padded
from edgec.formats.gguf.lanes.vector import WIDTH

_BLOCK, _SUB = 256, 16
_PER_BLOCK = _BLOCK // _SUB


def quantize_q6_k(rows: Rows) -> bool:
    """Quantize `rows` with ggml's bytes; whether all numbers in them are finite."""
    kind = Weights.SQUARE if rows.importance is None else Weights.IMPORTANCE
    fits = _search(rows, kind, 32)
    scales = _of_blocks(fits[symmetric.SCALE], rows)
    factor, index, packed = np.empty(len(scales), np.float32), np.empty(scales.shape, np.int8), rows.packed
    index_by_peak(scales, np.float32(128), SMALLEST_MAGNITUDE, factor, index)
    empty = factor == 0
    finite = store_halves(factor, packed, 208)
    levels = _levels(rows, (factor[:, None] * index).reshape(-1), fits[symmetric.INVERSE], 32)
    packing.pack_nibbles(levels, 64, packed, 0)
    packing.pack_pairs(levels, 4, packed, 128)
    packed[:, 192:208] = index.view(np.uint8)
    packed[empty] = 0
    return bool(finite)


def quantize_q3_k(rows: Rows) -> bool:
    """Quantize `rows` with ggml's bytes; whether all numbers in them are finite."""
    packed, blocks = rows.packed, rows.values.size // _BLOCK
    factor, index = np.empty(blocks, np.float32), np.empty((blocks, _PER_BLOCK), np.int8)
    if rows.importance is None:
        fits = np.empty((descent.ROWS, padded(blocks * _PER_BLOCK)), np.float32)
        kept = np.empty((fits.shape[1] // WIDTH, _SUB, WIDTH), np.uint8)
        late = np.empty(fits.shape[1], np.int32)
        late = late[: descent.search(rows.subs(_SUB), np.float32(4), fits, late, kept)]
        index_by_peak(_of_blocks(fits[descent.SCALE], rows), np.float32(32), np.float32(0), factor, index)
        inverse = fits[descent.INVERSE]
    else:
        fits = _search(rows, Weights.ENERGY, 4)
        scales, weights = _of_blocks(fits[symmetric.SCALE], rows), _of_blocks(fits[symmetric.WEIGHT], rows)
        index_by_symmetric_fit(scales, weights, -steps_around(32, 9), np.float32(32), factor, index)
        index -= 32
        inverse = fits[symmetric.INVERSE]
    finite = store_halves(factor, packed, 108)
    sub_scales = (factor[:, None] * index).reshape(-1)
    levels = _levels(rows, sub_scales, inverse, 4)
    if rows.importance is None:
        keep_levels(late, kept, sub_scales, levels.reshape(-1, _SUB))
    packing.pack_planes(levels, 2, packed, 0)
    packing.pack_pairs(levels, 0, packed, 32)
    packing.pack_six_bits((index + np.int8(32)).view(np.uint8), packed, 96)
    return bool(finite)


def _of_blocks(fit: Floats, rows: Rows) -> Floats:
    return fit[: rows.values.size // _SUB].reshape(-1, _PER_BLOCK)


def _search(rows: Rows, kind: Weights, top: int) -> Floats:
    subs, steps = rows.subs(_SUB), -steps_around(top, 9)
    fits = np.empty((symmetric.ROWS, padded(len(subs))), np.float32)
    means = rows.means(_SUB, _BLOCK, 2.0, _BLOCK) if kind is Weights.ENERGY else np.empty(0, np.float32)
    symmetric.search(subs, int(kind), rows.weights(_SUB), means, steps, np.float32(top), fits)
    return fits


def _levels(rows: Rows, sub_scales: Floats, inverse: Floats, top: int) -> Bytes:
    levels = np.empty(rows.values.size, np.uint8)
    set_symmetric(rows.flat, _SUB, sub_scales, inverse, np.float32(top), levels)
    return levels.reshape(-1, _BLOCK)
