"""ggml's search for a scale and a minimum per sub-block (make_qkx2_quants, make_qkx3_quants), in lanes.

x is about scale * level + low, level in 0..top. Each trial spreads the levels by another inverse scale, then fits scale
and low to them by least squares.
"""

from __future__ import annotations

from edgec.formats.gguf.lanes.compiled import INFINITY, ONE, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.memory import load, store
from edgec.formats.gguf.lanes.rounding import magnitude, nearest_bounded, nearest_level
from edgec.formats.gguf.lanes.tile import load_tile, sum_rows, weigh
from edgec.formats.gguf.lanes.vector import WIDTH, all_of, any_of, choose, spread

# Rows of the result (rows, sub-blocks). The best levels are those of inverse * (x - base).
SCALE, LOW, INVERSE, BASE, WEIGHT = range(5)
ROWS = 5


@compiled
def find_range(x):  # type: ignore[no-untyped-def]
    """The least and the greatest element."""
    low, high = load(x, 0), load(x, 0)
    for i in range(1, x.shape[0]):
        value = load(x, i)
        low = choose(value < low, value, low)
        high = choose(value > high, value, high)
    return low, high


@compiled
def _set_levels(x, inverse, low, top, level):  # type: ignore[no-untyped-def]
    for i in range(x.shape[0]):
        store(level, i, nearest_level(inverse * (load(x, i) - low), ZERO, top))


@compiled
def _sum_levels(x, w, inverse, low, top, bounded, level):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set the levels that an inverse scale gives; their weighted sums, of their squares, and of their products with x.

    `bounded`: make_qkx3_quants keeps a number in 0..top before it is rounded, make_qkx2_quants after that.
    """
    sum_l, sum_ll, sum_xl = spread(ZERO), spread(ZERO), spread(ZERO)
    for i in range(x.shape[0]):
        value = load(x, i)
        scaled = inverse * (value - low)
        rounded = nearest_bounded(scaled, top) if bounded else nearest_level(scaled, ZERO, top)
        store(level, i, rounded)
        weighted = load(w, i) * rounded
        sum_l += weighted
        sum_ll += weighted * rounded
        sum_xl += weighted * value
    return sum_l, sum_ll, sum_xl


@compiled
def _add_errors(x, w, level, scale, low, absolute, error):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """`error` plus the weighted errors of the levels, absolute or squared."""
    if absolute:
        for i in range(x.shape[0]):
            error += load(w, i) * magnitude(scale * load(level, i) + low - load(x, i))
    else:
        for i in range(x.shape[0]):
            difference = scale * load(level, i) + low - load(x, i)
            error += load(w, i) * (difference * difference)
    return error


@compiled
def _least_squares(sum_w, sum_x, sum_l, sum_ll, sum_xl, determinant):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Scale and low (never above zero) that fit the levels best."""
    scale = (sum_w * sum_xl - sum_x * sum_l) / determinant
    low = (sum_ll * sum_x - sum_l * sum_xl) / determinant
    above = low > ZERO
    if any_of(above):
        scale = choose(above, sum_xl / sum_ll, scale)
        low = choose(above, ZERO, low)
    return scale, low


@compiled
def _fit_tile(x, w, level, steps, top, absolute, bounded):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Scale, low, inverse and base as the rows of the result, and the sum of the weights; `level`: scratch, as x."""
    low, high = find_range(x)
    low = choose(low > ZERO, ZERO, low)
    sum_w = sum_rows(w)
    sum_x = load(w, 0) * load(x, 0)
    for i in range(1, x.shape[0]):
        sum_x += load(w, i) * load(x, i)
    flat = high <= low
    if all_of(flat):
        return spread(ZERO), low, spread(ZERO), low, sum_w
    kept_inverse = choose(flat, ZERO, top / (high - low))
    scale, base = choose(flat, ZERO, ONE / kept_inverse), low
    _set_levels(x, kept_inverse, low, top, level)
    best = _add_errors(x, w, level, scale, low, absolute, spread(ZERO))
    # An infinite inverse gives level 0 now, which only `nearest_level` knows.
    kept_inverse = choose(kept_inverse < INFINITY, kept_inverse, ZERO)
    for step in steps:
        inverse = choose(flat, ZERO, step / (high - low))
        sum_l, sum_ll, sum_xl = _sum_levels(x, w, inverse, low, top, bounded, level)
        determinant = sum_w * sum_ll - sum_l * sum_l
        new_scale, new_low = _least_squares(sum_w, sum_x, sum_l, sum_ll, sum_xl, determinant)
        # Levels that no line fits better than all are never taken.
        start = choose(determinant > ZERO, ZERO, spread(INFINITY))
        error = _add_errors(x, w, level, new_scale, new_low, absolute, start)
        better = error < best
        best = choose(better, error, best)
        kept_inverse, base = choose(better, inverse, kept_inverse), choose(better, low, base)
        scale, low = choose(better, new_scale, scale), choose(better, new_low, low)
    return scale, low, kept_inverse, base, sum_w


@compiled
def search(subs, kind, importance, means, steps, top, absolute, bounded, fits):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Fill in fits (ROWS, padded count)."""
    n = subs.shape[1]
    x, w, level = scratch(n), scratch(n), scratch(n)
    for first in range(0, subs.shape[0], WIDTH):
        load_tile(subs, first, x)
        weigh(kind, x, first, importance, means, w)
        scale, low, inverse, base, weight = _fit_tile(x, w, level, steps, top, absolute, bounded)
        store(fits[SCALE], first, scale)
        store(fits[LOW], first, low)
        store(fits[INVERSE], first, inverse)
        store(fits[BASE], first, base)
        store(fits[WEIGHT], first, weight)
