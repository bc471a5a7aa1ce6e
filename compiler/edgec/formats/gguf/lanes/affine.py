"""ggml's search for a scale and a minimum per sub-block (make_qkx2_quants, make_qkx3_quants), in lanes.

x is about scale * level + low, level in 0..top. Each trial spreads the levels by another inverse scale, then fits scale
and low to them by least squares.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes.compiled import INFINITY, LANES, ONE, ROUND, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.tile import load_tile, weigh

# Rows of the result (rows, sub-blocks). The best levels are those of inverse * (x - base).
SCALE, LOW, INVERSE, BASE, WEIGHT = range(5)
ROWS = 5
# Above this, inverse * (x - low) might not round as ggml's nearest_int does.
_SAFE = np.float32(2.0**20)


@compiled
def _first_fit(x, w, top, mad, fit):  # type: ignore[no-untyped-def]
    """Fill the rows of `fit` with sums and extremes, and the scale and error of spreading the levels over the range."""
    # Indexed one by one: unpacking would give numba rows of unknown stride, and no vectors.
    scale, low, inverse, base, sum_w = fit[0], fit[1], fit[2], fit[3], fit[4]
    sum_x, high, best, span, odd = fit[5], fit[6], fit[7], fit[8], fit[9]
    n = x.shape[0]
    for k in range(LANES):
        sum_w[k], sum_x[k] = w[0, k], w[0, k] * x[0, k]
        high[k], low[k] = x[0, k], x[0, k]
    for i in range(1, n):
        for k in range(LANES):
            v = x[i, k]
            low[k] = v if v < low[k] else low[k]
            high[k] = v if v > high[k] else high[k]
            sum_w[k] += w[i, k]
            sum_x[k] += w[i, k] * v
    for k in range(LANES):
        low[k] = ZERO if low[k] > ZERO else low[k]
        base[k], best[k] = low[k], ZERO
        span[k] = high[k] - low[k]
        flat = span[k] == ZERO
        inverse[k] = ZERO if flat else top / span[k]
        scale[k] = ZERO if flat else ONE / inverse[k]
        odd[k] = ZERO if span[k] < INFINITY and inverse[k] < INFINITY else ONE
    for i in range(n):
        for k in range(LANES):
            level = (inverse[k] * (x[i, k] - low[k]) + ROUND) - ROUND
            level = max(ZERO, min(top, level))
            difference = scale[k] * level + low[k] - x[i, k]
            cost = abs(difference) if mad else difference * difference
            best[k] += w[i, k] * cost


@compiled
def _spread_levels(x, w, fit, level, trial, step, top):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set the levels that one inverse scale gives, and their weighted sums."""
    low, high, span, odd = fit[1], fit[6], fit[8], fit[9]
    inverse, sum_l, sum_ll, sum_xl = trial[0], trial[1], trial[2], trial[3]
    for k in range(LANES):
        inverse[k] = ZERO if span[k] == ZERO else step / (high[k] - low[k])
        odd[k] = odd[k] if abs(inverse[k] * span[k]) < _SAFE else ONE
        sum_l[k], sum_ll[k], sum_xl[k] = ZERO, ZERO, ZERO
    for i in range(x.shape[0]):
        for k in range(LANES):
            v = x[i, k]
            rounded = (inverse[k] * (v - low[k]) + ROUND) - ROUND
            rounded = max(ZERO, min(top, rounded))
            level[i, k] = rounded
            weighted = w[i, k] * rounded
            sum_l[k] += weighted
            sum_ll[k] += weighted * rounded
            sum_xl[k] += weighted * v


@compiled
def _try_levels(x, w, fit, level, trial, mad):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Fit scale and low to the levels; keep them where the error shrinks."""
    scale, low, kept_inverse, base, sum_w = fit[0], fit[1], fit[2], fit[3], fit[4]
    sum_x, best = fit[5], fit[7]
    inverse, sum_l, sum_ll, sum_xl = trial[0], trial[1], trial[2], trial[3]
    new_scale, new_low, error = trial[4], trial[5], trial[6]
    for k in range(LANES):
        determinant = sum_w[k] * sum_ll[k] - sum_l[k] * sum_l[k]
        a = (sum_w[k] * sum_xl[k] - sum_x[k] * sum_l[k]) / determinant
        b = (sum_ll[k] * sum_x[k] - sum_l[k] * sum_xl[k]) / determinant
        above = b > ZERO
        new_scale[k] = sum_xl[k] / sum_ll[k] if above else a
        new_low[k] = ZERO if above else b
        error[k] = ZERO if determinant > ZERO else INFINITY
    for i in range(x.shape[0]):
        for k in range(LANES):
            difference = new_scale[k] * level[i, k] + new_low[k] - x[i, k]
            cost = abs(difference) if mad else difference * difference
            error[k] += w[i, k] * cost
    for k in range(LANES):
        better = error[k] < best[k]
        best[k] = error[k] if better else best[k]
        kept_inverse[k] = inverse[k] if better else kept_inverse[k]
        base[k] = low[k] if better else base[k]
        scale[k] = new_scale[k] if better else scale[k]
        low[k] = new_low[k] if better else low[k]


@compiled
def search(subs, kind, importance, means, steps, top, mad, fits, odd):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Fill in fits (ROWS, count), and `odd` (count) where lanes may not follow ggml."""
    n, count = subs.shape[1], subs.shape[0]
    x, w, level = scratch(n), scratch(n), scratch(n)
    fit, trial = scratch(10), scratch(7)
    for first in range(0, count, LANES):
        load_tile(subs, first, x)
        weigh(kind, x, first, importance, means, w)
        _first_fit(x, w, top, mad, fit)
        for step in steps:
            _spread_levels(x, w, fit, level, trial, step, top)
            _try_levels(x, w, fit, level, trial, mad)
        for k in range(min(LANES, count - first)):
            for row in range(ROWS):
                fits[row, first + k] = fit[row, k]
            odd[first + k] = fit[9, k] != ZERO or not (fit[0, k] >= ZERO and fit[0, k] < INFINITY)
