"""IQ4_NL and IQ4_XS: levels of 16 fixed numbers, a scale per sub-block of 32."""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes import codebook, packing
from edgec.formats.gguf.lanes.blocks import Floats, Rows, store_halves
from edgec.formats.gguf.lanes.compiled import ONE, ZERO, compiled
from edgec.formats.gguf.lanes.rounding import nearest
from edgec.formats.gguf.lanes.tile import Weights, padded

_SUB = 32


def quantize_iq4_nl(rows: Rows) -> bool:
    """Quantize `rows` with ggml's bytes; whether all numbers in them are finite."""
    scales, packed = _search(rows), rows.packed
    inverse = np.empty_like(scales)
    _invert(scales, inverse)
    finite = store_halves(scales, packed, 0)
    _pack_levels(rows, inverse, 2)
    return bool(finite)


def quantize_iq4_xs(rows: Rows) -> bool:
    """Quantize `rows` with ggml's bytes; whether all numbers in them are finite."""
    scales, packed = _search(rows).reshape(-1, 8), rows.packed
    factor, inverse = np.empty(len(scales), np.float32), np.empty(scales.shape, np.float32)
    index = np.empty(scales.shape, np.uint8)
    _index(scales, factor, index, inverse)
    finite = store_halves(factor, packed, 0)
    packing.pack_split_six_bits(index, packed, 2)
    _pack_levels(rows, inverse.reshape(-1), 8)
    return bool(finite)


@compiled
def _inverse(value):  # type: ignore[no-untyped-def]
    return ZERO if value == ZERO else ONE / value


@compiled
def _invert(values, inverse):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        inverse[i] = _inverse(values[i])


@compiled
def _index(scales, factor, index, inverse):  # type: ignore[no-untyped-def]
    """The scale of the greatest magnitude becomes about -32; `index` plus 32, `inverse`: of its scale."""
    for b in range(scales.shape[0]):
        magnitude, peak = ZERO, ZERO
        for j in range(scales.shape[1]):
            if abs(scales[b, j]) > magnitude:
                magnitude, peak = abs(scales[b, j]), scales[b, j]
        factor[b] = -peak / np.float32(32)
        by = _inverse(factor[b])
        for j in range(scales.shape[1]):
            level = max(np.int32(-32), min(np.int32(31), nearest(by * scales[b, j])))
            inverse[b, j] = _inverse(factor[b] * np.float32(level))
            index[b, j] = np.uint8(level + np.int32(32))


def _search(rows: Rows) -> Floats:
    subs, elements = rows.subs(_SUB), rows.type.block_elements
    scales = np.empty(padded(len(subs)), np.float32)
    kind = Weights.SQUARE if rows.importance is None else Weights.ENERGY
    # ggml multiplies by 2 / elements, a power of two.
    means = rows.means(_SUB, elements, 2.0 / elements, 1.0)
    codebook.search(subs, int(kind), rows.weights(_SUB), means, scales)
    return scales[: len(subs)]


def _pack_levels(rows: Rows, inverse: Floats, at: int) -> None:
    subs = rows.subs(_SUB)
    levels = np.empty(subs.shape, np.uint8)
    codebook.set_levels(subs, inverse, levels)
    packing.pack_nibbles(levels.reshape(len(rows.packed), -1), 16, rows.packed, at)
