"""IQ4_NL and IQ4_XS: levels of 16 fixed numbers, a scale per sub-block of 32."""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes import codebook, packing
from edgec.formats.gguf.lanes.blocks import NO_MEANS, Flags, Floats, Rows, means_of, special_blocks, to_halves
from edgec.formats.gguf.lanes.tile import Weights

_SUB = 32


def quantize_iq4_nl(rows: Rows) -> None:
    """Quantize `rows` with ggml's bytes."""
    scales, special = _search(rows)
    inverse = _inverse(scales)
    halves, _, too_large = to_halves(scales)
    special |= too_large | ~np.isfinite(inverse)
    packed = rows.packed
    packed[:, :2] = halves.view(np.uint8).reshape(-1, 2)
    _pack_levels(rows, inverse, 2)
    rows.give_to_ggml(special)


def quantize_iq4_xs(rows: Rows) -> None:
    """Quantize `rows` with ggml's bytes."""
    flat_scales, odd = _search(rows)
    scales, special = flat_scales.reshape(-1, 8), special_blocks(odd, 8)
    peak = np.take_along_axis(scales, np.abs(scales).argmax(axis=1)[:, None], axis=1)
    factor = -peak / np.float32(32)
    by = _inverse(factor)
    special |= ~np.isfinite(by[:, 0])
    with np.errstate(all="ignore"):
        index = np.clip(np.rint(by * scales), -32, 31)
        inverse = _inverse(factor * index)
    halves, _, too_large = to_halves(factor[:, 0])
    special |= too_large | ~np.isfinite(inverse).all(axis=1)
    with np.errstate(invalid="ignore"):
        stored = (index + 32).astype(np.uint8)
    packed = rows.packed
    packed[:, :2] = halves.view(np.uint8).reshape(-1, 2)
    high = stored >> 4
    for byte in range(2):
        four = high[:, 4 * byte : 4 * byte + 4]
        packed[:, 2 + byte] = four[:, 0] | four[:, 1] << 2 | four[:, 2] << 4 | four[:, 3] << 6
    packed[:, 4:8] = (stored[:, ::2] & 15) | (stored[:, 1::2] & 15) << 4
    _pack_levels(rows, inverse.reshape(-1), 8)
    rows.give_to_ggml(special)


def _inverse(values: Floats) -> Floats:
    """1 / value, 0 for 0."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        inverse: Floats = np.where(values == 0, np.float32(0), np.float32(1) / values)
    return inverse


def _search(rows: Rows) -> tuple[Floats, Flags]:
    subs, elements = rows.subs(_SUB), rows.type.block_elements
    scales, odd = np.empty(len(subs), np.float32), np.empty(len(subs), np.bool_)
    kind, means = Weights.SQUARE, NO_MEANS
    if rows.importance is not None:
        # ggml multiplies by 2 / elements, a power of two.
        kind, means = Weights.ENERGY, means_of(rows.blocks, 2.0 / elements, 1.0, elements // _SUB)
    codebook.search(subs, int(kind), rows.columns_importance, means, scales, odd)
    return scales, odd


def _pack_levels(rows: Rows, inverse: Floats, at: int) -> None:
    subs = rows.subs(_SUB)
    levels = np.empty(subs.shape, np.uint8)
    codebook.set_levels(subs, inverse, levels)
    packing.pack_nibbles(levels.reshape(len(rows.packed), -1), 16, rows.packed, at)
