"""ggml's search for a scale without a minimum (make_qx_quants), in lanes.

x is about scale * level, level in -top..top-1; the element of the greatest magnitude becomes about -top.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes.compiled import INFINITY, LANES, ONE, ROUND, SMALLEST_MAGNITUDE, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.tile import load_tile, weigh

# Rows of the result (rows, sub-blocks). The best levels are those of inverse * x; inverse 0: a sub-block of zeros.
SCALE, INVERSE, WEIGHT = range(3)
ROWS = 3


@compiled
def find_peak(x, peak):  # type: ignore[no-untyped-def]
    """The element of the greatest magnitude, with its sign; 0 where ggml takes all for zeros."""
    magnitude = np.zeros(LANES, np.float32)
    for k in range(LANES):
        peak[k] = ZERO
    for i in range(x.shape[0]):
        for k in range(LANES):
            v = abs(x[i, k])
            greater = v > magnitude[k]
            peak[k] = x[i, k] if greater else peak[k]
            magnitude[k] = v if greater else magnitude[k]
    for k in range(LANES):
        peak[k] = ZERO if magnitude[k] < SMALLEST_MAGNITUDE else peak[k]


@compiled
def _sum_levels(x, w, weighted, inverse, sum_xl, sum_ll, bounds):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set the sums of w * x * level and w * level^2."""
    low, high = bounds
    for k in range(LANES):
        sum_xl[k], sum_ll[k] = ZERO, ZERO
    for i in range(x.shape[0]):
        for k in range(LANES):
            level = (inverse[k] * x[i, k] + ROUND) - ROUND
            level = max(low, min(high, level))
            sum_xl[k] += weighted[i, k] * level
            sum_ll[k] += w[i, k] * level * level


@compiled
def fit_tile(x, w, weighted, steps, top, fit):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Fill rows 0 and 1 of `fit` (7, LANES) with the best scale and its inverse; `weighted`: scratch, as x."""
    scale, kept_inverse, peak, inverse, best = fit[0], fit[1], fit[2], fit[3], fit[4]
    sum_xl, sum_ll = fit[5], fit[6]
    bounds = (-top, top - ONE)
    find_peak(x, peak)
    for i in range(x.shape[0]):
        for k in range(LANES):
            weighted[i, k] = w[i, k] * x[i, k]
    for k in range(LANES):
        inverse[k] = ZERO if peak[k] == ZERO else -top / peak[k]
        kept_inverse[k] = inverse[k]
    _sum_levels(x, w, weighted, inverse, sum_xl, sum_ll, bounds)
    for k in range(LANES):
        scale[k] = ZERO if sum_ll[k] == ZERO else sum_xl[k] / sum_ll[k]
        best[k] = scale[k] * sum_xl[k]
    for step in steps:
        for k in range(LANES):
            inverse[k] = ZERO if peak[k] == ZERO else step / peak[k]
        _sum_levels(x, w, weighted, inverse, sum_xl, sum_ll, bounds)
        for k in range(LANES):
            xl, ll = sum_xl[k], sum_ll[k]
            better = (ll > ZERO) & (xl * xl > best[k] * ll)
            new_scale = xl / ll
            scale[k] = new_scale if better else scale[k]
            best[k] = new_scale * xl if better else best[k]
            kept_inverse[k] = inverse[k] if better else kept_inverse[k]


@compiled
def search(subs, kind, importance, means, steps, top, fits, odd):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Fill in fits (ROWS, count), and `odd` (count) where lanes may not follow ggml."""
    n, count = subs.shape[1], subs.shape[0]
    x, w, weighted = scratch(n), scratch(n), scratch(n)
    fit, total = scratch(7), np.empty(LANES, np.float32)
    for first in range(0, count, LANES):
        load_tile(subs, first, x)
        weigh(kind, x, first, importance, means, w)
        fit_tile(x, w, weighted, steps, top, fit)
        for k in range(LANES):
            total[k] = ZERO
        for i in range(n):
            for k in range(LANES):
                total[k] += w[i, k]
        for k in range(min(LANES, count - first)):
            fits[SCALE, first + k], fits[INVERSE, first + k], fits[WEIGHT, first + k] = fit[0, k], fit[1, k], total[k]
            odd[first + k] = not (abs(fit[0, k]) < INFINITY)
