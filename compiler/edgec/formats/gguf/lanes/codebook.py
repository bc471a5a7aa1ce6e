"""ggml's search for a scale of IQ4_NL and IQ4_XS: levels are 16 fixed numbers, not evenly spaced.

x is about scale * number. Which number is nearest is looked up by the half below x: all borders are multiples of 0.5,
and near a border ggml's two differences are exact, so that a tie goes up.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes.compiled import ONE, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.memory import load, look_up, store, store_bytes
from edgec.formats.gguf.lanes.tile import find_seen_peak, load_tile, weigh
from edgec.formats.gguf.lanes.vector import WIDTH, all_of, choose, spread

# ggml-common.h: kvalues_iq4nl.
_NUMBERS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int64)
_HALVES = np.arange(-256, 256)
# The level of x is that of floor(2x), in -256..255.
_LEVELS = (_HALVES[:, None] >= (_NUMBERS[1:] + _NUMBERS[:-1])[None, :]).sum(axis=1)
_NEAREST, _LEVEL_OF_HALF = _NUMBERS[_LEVELS].astype(np.float32), _LEVELS.astype(np.float32)
_LOWEST, _HIGHEST = np.float32(-256), np.float32(255)
# Rounds numbers below 2^22 when added and subtracted.
_ROUND = np.float32(12582912.0)
_TRIES = np.arange(-7, 8).astype(np.float32)
_FIRST = np.float32(_NUMBERS[0])


@compiled
def _half_index(values):  # type: ignore[no-untyped-def]
    """floor(2 * value) + 256, kept in 0..511; what is no number counts as too large, as in ggml."""
    doubled = values + values
    doubled = choose(doubled < _HIGHEST, doubled, _HIGHEST)
    doubled = choose(doubled > _LOWEST, doubled, _LOWEST)
    rounded = (doubled + _ROUND) - _ROUND
    return choose(rounded > doubled, rounded - ONE, rounded) - _LOWEST


@compiled
def _sum_numbers(x, w, inverse):  # type: ignore[no-untyped-def]
    """The sums of w * number * x and w * number^2."""
    sum_qx, sum_qq = spread(ZERO), spread(ZERO)
    for i in range(x.shape[0]):
        value = load(x, i)
        number = look_up(_NEAREST, _half_index(inverse * value))
        weighted = load(w, i) * number
        sum_qx += weighted * value
        sum_qq += weighted * number
    return sum_qx, sum_qq


@compiled
def _fit_tile(x, w):  # type: ignore[no-untyped-def]
    """The best scale."""
    peak = find_seen_peak(x)
    flat = peak == ZERO
    if all_of(flat):
        return spread(ZERO)
    sum_qx, sum_qq = _sum_numbers(x, w, ONE / (peak / -_FIRST))
    scale = choose(sum_qq > ZERO, sum_qx / sum_qq, ZERO)
    best = scale * sum_qx
    for offset in _TRIES:
        sum_qx, sum_qq = _sum_numbers(x, w, (offset + _FIRST) / peak)
        better = (sum_qq > ZERO) & (sum_qx * sum_qx > best * sum_qq)
        new_scale = sum_qx / sum_qq
        scale = choose(better, new_scale, scale)
        best = choose(better, new_scale * sum_qx, best)
    return choose(flat, ZERO, scale)


@compiled
def search(subs, kind, importance, means, scales):  # type: ignore[no-untyped-def]
    """Fill in the scale of every sub-block (padded count)."""
    n = subs.shape[1]
    x, w = scratch(n), scratch(n)
    for first in range(0, subs.shape[0], WIDTH):
        load_tile(subs, first, x)
        weigh(kind, x, first, importance, means, w)
        store(scales, first, _fit_tile(x, w))


@compiled
def set_levels(subs, inverse, levels):  # type: ignore[no-untyped-def]
    """Set the level of every element (count, n): that of the number nearest to inverse * x; n: a multiple of WIDTH."""
    for s in range(subs.shape[0]):
        for i in range(0, subs.shape[1], WIDTH):
            store_bytes(levels[s], i, look_up(_LEVEL_OF_HALF, _half_index(inverse[s] * load(subs[s], i))))
