"""ggml's other way to a scale: start from levels, then change one level at a time while the fit improves.

`fit_positive` is make_qp_quants (the scales of a block's sub-blocks), `search_descent` make_q3_quants.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes.compiled import (
    INFINITY,
    LANES,
    ONE,
    ROUND,
    ROUND_LIMIT,
    SMALLEST_MAGNITUDE,
    ZERO,
    compiled,
    scratch,
)
from edgec.formats.gguf.lanes.symmetric import find_peak
from edgec.formats.gguf.lanes.tile import load_tile

_ROUNDS = 5
# The sum of a lane that met a number too large to round as ggml does: every comparison with it fails.
_STRANGE = np.float32(np.nan)


@compiled
def _improve(x, w, level, sum_xl, sum_ll, bounds):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Let every element in turn take the level that fits best, if the fit improves."""
    least, greatest, floor = bounds
    for i in range(x.shape[0]):
        for k in range(LANES):
            weight, old = w[i, k], level[i, k]
            weighted = weight * x[i, k]
            xl = sum_xl[k] - weighted * old
            ll = sum_ll[k] - weight * old * old
            open_ = (xl > ZERO) & (ll > floor)
            wanted = x[i, k] * ll / xl
            strange = open_ & (not (abs(wanted) < ROUND_LIMIT))
            new = max(least, min(greatest, (wanted + ROUND) - ROUND))
            xl += weighted * new
            ll += weight * new * new
            better = open_ & (new != old) & (ll > ZERO)
            better &= xl * xl * sum_ll[k] > sum_xl[k] * sum_xl[k] * ll
            level[i, k] = new if better else old
            sum_xl[k] = xl if better else sum_xl[k]
            ll = ll if better else sum_ll[k]
            sum_ll[k] = _STRANGE if strange else ll


@compiled
def _descend(x, w, level, sum_xl, sum_ll, bounds):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Improve levels (n, LANES) and their sums of w * x * level and w * level^2; NaN where lanes may not follow ggml.

    `bounds`: least and greatest level, and what the second sum must exceed without an element before that is changed.
    """
    before = np.empty((2, LANES), np.float32)
    for _ in range(_ROUNDS):
        for k in range(LANES):
            before[0, k], before[1, k] = sum_xl[k], sum_ll[k]
        _improve(x, w, level, sum_xl, sum_ll, bounds)
        changed = False
        for k in range(LANES):
            changed |= (before[0, k] != sum_xl[k]) | (before[1, k] != sum_ll[k])
        if not changed:
            break


@compiled
def _start(x, w, level, inverse, bounds, sum_xl, sum_ll):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set the levels that `inverse` gives and their sums, as `_descend` takes them."""
    for k in range(LANES):
        sum_xl[k], sum_ll[k] = ZERO, ZERO
    for i in range(x.shape[0]):
        for k in range(LANES):
            rounded = (inverse[k] * x[i, k] + ROUND) - ROUND
            rounded = max(bounds[0], min(bounds[1], rounded))
            level[i, k] = rounded
            sum_xl[k] += w[i, k] * x[i, k] * rounded
            sum_ll[k] += w[i, k] * rounded * rounded


@compiled
def _try_inverse(x, w, top, inverse, error):  # type: ignore[no-untyped-def]
    """Set the weighted squared error of the levels that `inverse` gives."""
    for k in range(LANES):
        error[k] = ZERO
    for i in range(x.shape[0]):
        for k in range(LANES):
            rounded = min(top, (inverse[k] * x[i, k] + ROUND) - ROUND)
            scale = ONE / inverse[k]
            difference = x[i, k] - scale * rounded
            error[k] += w[i, k] * difference * difference


@compiled
def fit_positive(x, w, steps, top, level, fit):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set levels in 0..top for x >= 0, and row 0 of `fit` (8, LANES) to the scale; NaN where lanes may not follow."""
    peak, inverse, kept, error, best = fit[1], fit[2], fit[3], fit[4], fit[5]
    sum_xl, sum_ll = fit[6], fit[7]
    for k in range(LANES):
        peak[k] = ZERO
    for i in range(x.shape[0]):
        for k in range(LANES):
            peak[k] = x[i, k] if x[i, k] > peak[k] else peak[k]
    for k in range(LANES):
        peak[k] = ZERO if peak[k] < SMALLEST_MAGNITUDE else peak[k]
        kept[k] = top / peak[k]
    _try_inverse(x, w, top, kept, best)
    for step in steps:
        for k in range(LANES):
            inverse[k] = step / peak[k]
        _try_inverse(x, w, top, inverse, error)
        for k in range(LANES):
            better = error[k] < best[k]
            best[k] = error[k] if better else best[k]
            kept[k] = inverse[k] if better else kept[k]
    for k in range(LANES):
        kept[k] = ZERO if peak[k] == ZERO else kept[k]
    bounds = (ZERO, top, ZERO)
    _start(x, w, level, kept, bounds, sum_xl, sum_ll)
    _descend(x, w, level, sum_xl, sum_ll, bounds)
    for k in range(LANES):
        fit[0, k] = ZERO if sum_ll[k] <= ZERO else sum_xl[k] / sum_ll[k]


@compiled
def search_descent(subs, top, scales, flat, odd):  # type: ignore[no-untyped-def]
    """Fill in the scale of every sub-block (count, n), whether it is flat (zeros), and where lanes may not follow."""
    n, count = subs.shape[1], subs.shape[0]
    x, w, level = scratch(n), scratch(n), scratch(n)
    fit = scratch(4)
    sum_xl, sum_ll, peak, inverse = fit[0], fit[1], fit[2], fit[3]
    bounds = (-top, top - ONE, -INFINITY)
    for first in range(0, count, LANES):
        load_tile(subs, first, x)
        find_peak(x, peak)
        for k in range(LANES):
            inverse[k] = ZERO if peak[k] == ZERO else -top / peak[k]
        for i in range(n):
            for k in range(LANES):
                w[i, k] = x[i, k] * x[i, k]
        _start(x, w, level, inverse, bounds, sum_xl, sum_ll)
        _descend(x, w, level, sum_xl, sum_ll, bounds)
        for k in range(min(LANES, count - first)):
            scales[first + k] = ZERO if sum_ll[k] <= ZERO else sum_xl[k] / sum_ll[k]
            flat[first + k] = peak[k] == ZERO
            odd[first + k] = not (abs(scales[first + k]) < INFINITY)
