"""ggml's other way to a scale: start from levels, then change one level at a time while the fit improves.

`fit_positive` is make_qp_quants (the scales of a block's sub-blocks), `search` make_q3_quants.
"""

from __future__ import annotations

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from edgec.formats.gguf.lanes.compiled import INFINITY, ONE, SMALLEST_MAGNITUDE, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.memory import load, store, store_bytes
from edgec.formats.gguf.lanes.rounding import low_byte, nearest_level
from edgec.formats.gguf.lanes.tile import find_seen_peak, load_tile
from edgec.formats.gguf.lanes.vector import WIDTH, all_of, any_of, bits_of_noes, choose, spread

# Rows of the result of `search` (rows, sub-blocks). inverse 0: a sub-block of zeros.
SCALE, INVERSE = range(2)
ROWS = 2

_ROUNDS = 5
# What nearest_int may give at least: only the greatest level is kept from being passed.
_LEAST = np.float32(-(2.0**22))
# How far from a level certainly rounds to it, although products of levels up to 255 are off by up to 255 * 2^-22;
# quotients that certainly round as they should; and what makes no denormal number pass for certain.
_SURE, _FAR, _TINY = np.float32(0.4999), np.float32(2.0**20), np.float32(1e-30)


@compiled
def _stay(value, old, xl, ll, least, greatest):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Where the best level, the nearest to value * ll / xl, is surely the old one: found without the division."""
    distance = value * ll - old * xl
    # Well inside the half that rounds to the old level, or past it where no level follows.
    above = distance < xl * choose(old == greatest, _FAR, _SURE) - _TINY
    below = distance > _TINY - xl * choose(old == least, _FAR, _SURE)
    return (xl <= ZERO) | (above & below & (old <= greatest))


@compiled
def _improve(x, w, level, sum_xl, sum_ll, bounds):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Let every element in turn take the level that fits best, if the fit improves; the sums, and whether one did."""
    least, greatest, floor = bounds
    changed = spread(ZERO)
    for i in range(x.shape[0]):
        value, weight, old = load(x, i), load(w, i), load(level, i)
        weighted = weight * value
        xl = sum_xl - weighted * old
        ll = sum_ll - weight * old * old
        if all_of(_stay(value, old, xl, ll, least, greatest)):
            continue
        usable = (xl > ZERO) & (ll > floor)
        new = nearest_level(value * ll / xl, least, greatest)
        xl += weighted * new
        ll += weight * new * new
        better = usable & (new != old) & (ll > ZERO) & (xl * xl * sum_ll > sum_xl * sum_xl * ll)
        if least == _LEAST:
            new = low_byte(new)
        store(level, i, choose(better, new, old))
        sum_xl, sum_ll = choose(better, xl, sum_xl), choose(better, ll, sum_ll)
        changed = choose(better, ONE, changed)
    return sum_xl, sum_ll, any_of(changed > ZERO)


@compiled
def _descend(x, w, level, inverse, bounds):  # type: ignore[no-untyped-def]
    """Set levels (n, WIDTH), first those of `inverse`; the sums of w * x * level and w * level^2.

    `bounds`: least and greatest level, and what the second sum must exceed without an element before that is changed.
    """
    sum_xl, sum_ll = spread(ZERO), spread(ZERO)
    for i in range(x.shape[0]):
        value, weight = load(x, i), load(w, i)
        rounded = nearest_level(inverse * value, bounds[0], bounds[1])
        sum_xl += weight * value * rounded
        sum_ll += weight * rounded * rounded
        store(level, i, low_byte(rounded) if bounds[0] == _LEAST else rounded)
    for _ in range(_ROUNDS):
        sum_xl, sum_ll, changed = _improve(x, w, level, sum_xl, sum_ll, bounds)
        if not changed:
            break
    return sum_xl, sum_ll


@compiled
def _sum_errors(x, w, inverse, top, as_bytes):  # type: ignore[no-untyped-def]
    """The weighted squared error of the levels that `inverse` gives, kept in bytes or below `top`."""
    error = spread(ZERO)
    scale = ONE / inverse
    for i in range(x.shape[0]):
        value = load(x, i)
        if as_bytes:
            rounded = low_byte(nearest_level(inverse * value, _LEAST, -_LEAST))
        else:
            rounded = nearest_level(inverse * value, _LEAST, top)
        difference = value - scale * rounded
        error += load(w, i) * difference * difference
    return error


@compiled
def fit_positive(x, w, steps, top, level):  # type: ignore[no-untyped-def]
    """Set levels in 0..top for x >= 0; the scale."""
    peak = spread(ZERO)
    for i in range(x.shape[0]):
        peak = choose(peak > load(x, i), peak, load(x, i))
    flat = peak < SMALLEST_MAGNITUDE
    if all_of(flat):
        for i in range(x.shape[0]):
            store(level, i, spread(ZERO))
        return spread(ZERO)
    kept = top / peak
    best = _sum_errors(x, w, kept, top, True)
    for step in steps:
        inverse = step / peak
        error = _sum_errors(x, w, inverse, top, False)
        better = error < best
        best = choose(better, error, best)
        kept = choose(better, inverse, kept)
    sum_xl, sum_ll = _descend(x, w, level, choose(flat, ZERO, kept), (_LEAST, top, ZERO))
    for i in range(x.shape[0]):
        store(level, i, choose(flat, ZERO, load(level, i)))
    return choose(flat, ZERO, choose(sum_ll > ZERO, sum_xl / sum_ll, ZERO))


@compiled
def _set_first_levels(x, inverse, top, level, product, square):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Both sums of the levels of `inverse`, and in which lanes surely no level changes afterwards.

    Scratch, as x: `level`, and what every element adds to the sums, `product` and `square`.
    """
    sum_xl, sum_ll = spread(ZERO), spread(ZERO)
    for i in range(x.shape[0]):
        value = load(x, i)
        weight = value * value
        rounded = nearest_level(inverse * value, -top, top - ONE)
        store(level, i, rounded)
        store(product, i, weight * value * rounded)
        store(square, i, weight * rounded * rounded)
        sum_xl += load(product, i)
        sum_ll += load(square, i)
    settled = spread(ONE)
    for i in range(x.shape[0]):
        xl, ll = sum_xl - load(product, i), sum_ll - load(square, i)
        settled = choose(_stay(load(x, i), load(level, i), xl, ll, -top, top - ONE), settled, ZERO)
    return sum_xl, sum_ll, settled > ZERO


@compiled
def _scale_of(sum_xl, sum_ll):  # type: ignore[no-untyped-def]
    return choose(sum_ll > ZERO, sum_xl / sum_ll, ZERO)


@compiled
def _refine(subs, late, top, fits, levels):  # type: ignore[no-untyped-def]
    """Set the scales of the sub-blocks whose numbers are in `late`, and their levels, plus top."""
    n = subs.shape[1]
    rows = np.empty((WIDTH, n), np.float32)
    x, w, level, column = scratch(n), scratch(n), scratch(n), scratch(1)
    for first in range(0, late.size, WIDTH):
        for k in range(WIDTH):
            s = late[min(first + k, late.size - 1)]
            column[0, k] = fits[INVERSE, s]
            for i in range(n):
                rows[k, i] = subs[s, i]
        load_tile(rows, 0, x)
        for i in range(n):
            store(w, i, load(x, i) * load(x, i))
        sum_xl, sum_ll = _descend(x, w, level, load(column, 0), (-top, top - ONE, -INFINITY))
        store(column, 0, _scale_of(sum_xl, sum_ll))
        for k in range(min(WIDTH, late.size - first)):
            fits[SCALE, late[first + k]] = column[0, k]
        for i in range(n):
            store_bytes(levels[first // WIDTH], i, load(level, i) + top)


@compiled
def search(subs, top, fits, late, levels):  # type: ignore[no-untyped-def]
    """Fill in fits (ROWS, padded count); how many sub-blocks may have other levels than INVERSE gives.

    Their numbers go to `late` (padded count,), their levels, plus top, to `levels` (tiles, n, WIDTH) in the order of
    `late`. The rounds of these few sub-blocks are run in full lanes: else all would wait for the slowest.
    """
    n, count = subs.shape[1], 0
    x, level, product, square = scratch(n), scratch(n), scratch(n), scratch(n)
    for first in range(0, subs.shape[0], WIDTH):
        load_tile(subs, first, x)
        peak = find_seen_peak(x)
        flat = peak == ZERO
        if all_of(flat):
            store(fits[SCALE], first, spread(ZERO))
            store(fits[INVERSE], first, spread(ZERO))
            continue
        inverse = choose(flat, ZERO, -top / peak)
        store(fits[INVERSE], first, inverse)
        sum_xl, sum_ll, settled = _set_first_levels(x, inverse, top, level, product, square)
        store(fits[SCALE], first, choose(flat, ZERO, _scale_of(sum_xl, sum_ll)))
        unsettled = bits_of_noes(settled | flat)
        while unsettled:
            number = first + np.int64(trailing_zeros(unsettled))
            unsettled &= unsettled - np.uint64(1)
            if number < subs.shape[0]:
                late[count] = number
                count += 1
    _refine(subs, late[:count], top, fits, levels)
    return count
