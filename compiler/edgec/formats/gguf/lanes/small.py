"""Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0: blocks of 32 with one scale, and a minimum in those that end in 1.

With an importance matrix ggml searches, and an element's weight depends on the mean square of its whole row; without
one the greatest magnitude, or the range, gives the scale. Q8_0 never reads the matrix.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes import affine, packing, symmetric
from edgec.formats.gguf.lanes.blocks import Bytes, Floats, Rows, steps_around, steps_of, store_halves
from edgec.formats.gguf.lanes.compiled import ONE, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.levels import set_searched_affine, set_searched_symmetric, set_truncated
from edgec.formats.gguf.lanes.memory import load, store, store_bytes
from edgec.formats.gguf.lanes.rounding import castable, from_bits, to_bits
from edgec.formats.gguf.lanes.tile import Weights, find_peak, load_tile, padded
from edgec.formats.gguf.lanes.vector import WIDTH, choose, spread, to_integers
from edgec.formats.gguf.types import TensorType

_BLOCK = 32
# Levels per side (symmetric) or the greatest level (affine).
_TOPS = {TensorType.Q4_0: 8, TensorType.Q5_0: 16, TensorType.Q4_1: 15, TensorType.Q5_1: 31}
_HALF = np.float32(0.5)
_MAGNITUDE_BITS = np.int32(0x7FFFFFFF)


def quantize_symmetric(rows: Rows) -> bool:
    """Quantize `rows` to Q4_0 or Q5_0 with ggml's bytes; whether all numbers in them are finite."""
    top, subs = _TOPS[rows.type], rows.subs(_BLOCK)
    levels = np.empty(rows.values.size, np.uint8)
    if rows.importance is None:
        fits = _fits(rows, affine.ROWS)
        _fit_peaks(subs, np.float32(top), fits)
        scale, inverse, base = fits[affine.SCALE], fits[affine.INVERSE], fits[affine.BASE]
        set_truncated(rows.flat, _BLOCK, inverse, base, np.float32(top) + _HALF, np.float32(2 * top - 1), levels)
    else:
        fits, means = _fits(rows, symmetric.ROWS), _means(rows)
        steps, weights = -steps_around(top, 9), rows.weights(_BLOCK)
        symmetric.search(subs, int(Weights.ENERGY), weights, means, steps, np.float32(top), fits)
        scale = fits[symmetric.SCALE]
        set_searched_symmetric(rows.flat, _BLOCK, fits[symmetric.INVERSE], np.float32(top), levels)
    finite = store_halves(scale, rows.packed, 0)
    _pack_levels(rows, levels, 2)
    return bool(finite)


def quantize_affine(rows: Rows) -> bool:
    """Quantize `rows` to Q4_1 or Q5_1 with ggml's bytes; whether all numbers in them are finite."""
    top, subs = _TOPS[rows.type], rows.subs(_BLOCK)
    levels, fits = np.empty(rows.values.size, np.uint8), _fits(rows, affine.ROWS)
    inverse, base = fits[affine.INVERSE], fits[affine.BASE]
    if rows.importance is None:
        _fit_ranges(subs, np.float32(top), fits)
        set_truncated(rows.flat, _BLOCK, inverse, base, _HALF, np.float32(top), levels)
    else:
        steps, means, weights = steps_of(-0.9, 0.05, 37, top), _means(rows), rows.weights(_BLOCK)
        affine.search(subs, int(Weights.ENERGY), weights, means, steps, np.float32(top), False, True, fits)
        set_searched_affine(rows.flat, _BLOCK, inverse, base, np.float32(top), levels)
    finite = [store_halves(fits[row], rows.packed, 2 * i) for i, row in enumerate((affine.SCALE, affine.LOW))]
    _pack_levels(rows, levels, 4)
    return all(finite)


def quantize_q8_0(rows: Rows) -> bool:
    """Quantize `rows` with ggml's bytes; whether all numbers in them are finite."""
    packed = rows.packed
    scale, levels = np.empty(len(packed), np.float32), np.empty(rows.values.size, np.uint8)
    _set_bytes(rows.flat, scale, levels)
    packed[:, 2:] = levels.reshape(-1, _BLOCK)
    return bool(store_halves(scale, packed, 0))


@compiled
def _fit_peaks(subs, top, fits):  # type: ignore[no-untyped-def]
    """The greatest magnitude becomes -top."""
    x = scratch(_BLOCK)
    for first in range(0, subs.shape[0], WIDTH):
        load_tile(subs, first, x)
        scale = find_peak(x, ZERO) / -top
        store(fits[affine.SCALE], first, scale)
        store(fits[affine.INVERSE], first, choose(scale == ZERO, ZERO, ONE / scale))
        store(fits[affine.BASE], first, spread(ZERO))


@compiled
def _fit_ranges(subs, top, fits):  # type: ignore[no-untyped-def]
    """The least element becomes 0, the greatest top."""
    x = scratch(_BLOCK)
    for first in range(0, subs.shape[0], WIDTH):
        load_tile(subs, first, x)
        low, high = affine.find_range(x)
        scale = (high - low) / top
        store(fits[affine.SCALE], first, scale)
        store(fits[affine.LOW], first, low)
        store(fits[affine.INVERSE], first, choose(scale == ZERO, ZERO, ONE / scale))
        store(fits[affine.BASE], first, low)


@compiled
def _set_bytes(values, scale, levels):  # type: ignore[no-untyped-def]
    """Q8_0's scales and x / scale as bytes, halves rounded away from zero."""
    for b in range(scale.size):
        e = b * _BLOCK
        bits = np.int32(0)
        for i in range(_BLOCK):
            bits = max(bits, to_bits(values[e + i]) & _MAGNITUDE_BITS)
        scale[b] = from_bits(bits) / np.float32(127)
        by = ZERO if scale[b] == ZERO else ONE / scale[b]
        for i in range(e, e + _BLOCK, WIDTH):
            value = castable(load(values, i) * by)
            whole = to_integers(value)
            rest = value - whole
            whole = choose(rest >= _HALF, whole + ONE, whole)
            store_bytes(levels, i, choose(rest <= -_HALF, whole - ONE, whole))


def _fits(rows: Rows, count: int) -> Floats:
    return np.empty((count, padded(rows.values.size // _BLOCK)), np.float32)


def _means(rows: Rows) -> Floats:
    columns = rows.values.shape[1]
    return rows.means(_BLOCK, columns, 1.0, columns)


def _pack_levels(rows: Rows, levels: Bytes, at: int) -> None:
    levels = levels.reshape(-1, _BLOCK)
    if rows.type in {TensorType.Q5_0, TensorType.Q5_1}:
        packing.pack_row_bits(levels, 4, rows.packed, at)
    packing.pack_nibbles(levels, 16, rows.packed, rows.type.block_bytes - 16)
