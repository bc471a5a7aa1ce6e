"""ggml's search for a scale of IQ4_NL and IQ4_XS: levels are 16 fixed numbers, not evenly spaced.

x is about scale * number. Which number is nearest is looked up by the half below x: all borders are multiples of 0.5,
and near a border ggml's two differences are exact, so that a tie goes up.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes.compiled import INFINITY, LANES, ONE, ROUND, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.symmetric import find_peak
from edgec.formats.gguf.lanes.tile import load_tile, weigh

# ggml-common.h: kvalues_iq4nl.
_NUMBERS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int64)
_HALVES = np.arange(-256, 256)
# The level of x is that of floor(2x), in -256..255.
_LEVELS = (_HALVES[:, None] >= (_NUMBERS[1:] + _NUMBERS[:-1])[None, :]).sum(axis=1).astype(np.uint8)
_NEAREST = _NUMBERS[_LEVELS].astype(np.float32)
_LOWEST, _HIGHEST = np.float32(-256), np.float32(255)
_TRIES = np.arange(-7, 8).astype(np.float32)
_FIRST = np.float32(_NUMBERS[0])


@compiled
def _half_index(value):  # type: ignore[no-untyped-def]
    """floor(2 * value) + 256, kept in 0..511."""
    doubled = max(_LOWEST, min(_HIGHEST, value + value))
    rounded = (doubled + ROUND) - ROUND
    rounded = rounded - ONE if rounded > doubled else rounded
    return np.int64(np.int32(rounded)) + 256


@compiled
def _sum_numbers(x, w, inverse, sum_qx, sum_qq):  # type: ignore[no-untyped-def]
    for k in range(LANES):
        sum_qx[k], sum_qq[k] = ZERO, ZERO
    for i in range(x.shape[0]):
        for k in range(LANES):
            number = _NEAREST[_half_index(inverse[k] * x[i, k])]
            weighted = w[i, k] * number
            sum_qx[k] += weighted * x[i, k]
            sum_qq[k] += weighted * number


@compiled
def _fit(x, w, fit):  # type: ignore[no-untyped-def]
    """Set row 0 of `fit` (6, LANES) to the best scale."""
    scale, peak, inverse, best, sum_qx, sum_qq = fit[0], fit[1], fit[2], fit[3], fit[4], fit[5]
    find_peak(x, peak)
    for k in range(LANES):
        first_scale = -peak[k] / _FIRST
        inverse[k] = ZERO if peak[k] == ZERO else ONE / first_scale
    _sum_numbers(x, w, inverse, sum_qx, sum_qq)
    for k in range(LANES):
        scale[k] = sum_qx[k] / sum_qq[k] if sum_qq[k] > ZERO else ZERO
        best[k] = scale[k] * sum_qx[k]
    for t in _TRIES:
        for k in range(LANES):
            inverse[k] = ZERO if peak[k] == ZERO else (t + _FIRST) / peak[k]
        _sum_numbers(x, w, inverse, sum_qx, sum_qq)
        for k in range(LANES):
            qx, qq = sum_qx[k], sum_qq[k]
            better = (qq > ZERO) & (qx * qx > best[k] * qq)
            new_scale = qx / qq
            scale[k] = new_scale if better else scale[k]
            best[k] = new_scale * qx if better else best[k]
    for k in range(LANES):
        scale[k] = ZERO if peak[k] == ZERO else scale[k]


@compiled
def search(subs, kind, importance, means, scales, odd):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Fill in the scale of every sub-block (count, n), and `odd` where lanes may not follow ggml."""
    n, count = subs.shape[1], subs.shape[0]
    x, w = scratch(n), scratch(n)
    fit = scratch(6)
    for first in range(0, count, LANES):
        load_tile(subs, first, x)
        weigh(kind, x, first, importance, means, w)
        _fit(x, w, fit)
        for k in range(min(LANES, count - first)):
            scales[first + k] = fit[0, k]
            odd[first + k] = not (abs(fit[0, k]) < INFINITY)


@compiled
def set_levels(subs, inverse, levels):  # type: ignore[no-untyped-def]
    """Set the level of every element: that of the number nearest to inverse * x."""
    for s in range(subs.shape[0]):
        for i in range(subs.shape[1]):
            levels[s, i] = _LEVELS[_half_index(inverse[s] * subs[s, i])]
