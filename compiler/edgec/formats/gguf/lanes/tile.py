"""Tiles: sub-blocks transposed into lanes, and the weights that ggml gives to their elements.

Shapes: `subs` (count, n) sub-blocks in file order; a tile (n, WIDTH). The last tile goes on with the first sub-blocks,
so results lie in arrays of `padded` length.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from edgec.formats.gguf.lanes.compiled import SMALLEST_MAGNITUDE, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.memory import COLUMNS, load, load_columns, store
from edgec.formats.gguf.lanes.rounding import magnitude
from edgec.formats.gguf.lanes.vector import WIDTH, choose, spread, square_root


class Weights(IntEnum):
    """How much the error of an element counts. x: the element, c: the importance of its column."""

    SPREAD = 0  # root mean square of the sub-block + |x|
    MAGNITUDE = 1  # |x|
    SQUARE = 2  # x^2
    IMPORTANCE = 3  # c
    ENERGY = 4  # c * sqrt(mean square of the block or row + x^2)


_SPREAD, _MAGNITUDE, _SQUARE = int(Weights.SPREAD), int(Weights.MAGNITUDE), int(Weights.SQUARE)
_ENERGY = int(Weights.ENERGY)


def padded(count: int) -> int:
    """`count` sub-blocks in whole tiles."""
    return -(-count // WIDTH) * WIDTH


@compiled
def load_tile(subs, first, tile):  # type: ignore[no-untyped-def]
    """Transpose sub-blocks from `first` on; after the last one comes the first."""
    row = first % subs.shape[0]
    quick = subs.shape[1] // COLUMNS * COLUMNS
    for column in range(0, quick, COLUMNS):
        load_columns(subs, row, column, tile, column)
    for column in range(quick, subs.shape[1]):
        for k in range(WIDTH):
            tile[column, k] = subs[(row + k) % subs.shape[0], column]


@compiled
def find_peak(x, least):  # type: ignore[no-untyped-def]
    """The element of the greatest magnitude, the first of several, with its sign; 0 where that is below `least`."""
    peak, greatest = spread(ZERO), spread(ZERO)
    for i in range(x.shape[0]):
        value = load(x, i)
        size = magnitude(value)
        greater = size > greatest
        peak = choose(greater, value, peak)
        greatest = choose(greater, size, greatest)
    return choose(greatest < least, ZERO, peak)


@compiled
def find_seen_peak(x):  # type: ignore[no-untyped-def]
    """`find_peak` where ggml takes sub-blocks of tiny numbers for zeros."""
    return find_peak(x, SMALLEST_MAGNITUDE)


@compiled
def mean_squares(groups, factor, divisor, per_group, out):  # type: ignore[no-untyped-def]
    """Set out[g * per_group + j] to factor * sum / divisor of the squares of group g (count, elements), in order."""
    count = groups.shape[0]
    x, means = scratch(COLUMNS), scratch(1)
    for first in range(0, count, WIDTH):
        total = spread(ZERO)
        for column in range(0, groups.shape[1], COLUMNS):
            load_columns(groups, first, column, x, 0)
            for i in range(COLUMNS):
                value = load(x, i)
                total += value * value
        store(means, 0, factor * total / divisor)
        for k in range(min(WIDTH, count - first)):
            for j in range(per_group):
                out[(first + k) * per_group + j] = means[0, k]


@compiled
def _weigh_by_spread(x, w):  # type: ignore[no-untyped-def]
    n = x.shape[0]
    total = spread(ZERO)
    for i in range(n):
        value = load(x, i)
        total += value * value
    mean = square_root(total / np.float32(n))
    for i in range(n):
        store(w, i, mean + magnitude(load(x, i)))


@compiled
def weigh(kind, x, first, importance, means, w):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set w (n, WIDTH) for a tile of sub-blocks from `first` on.

    `importance` (sub-blocks of a row, n) and `means`, the mean squares for every sub-block, are read where they count.
    """
    n = x.shape[0]
    if kind == _SPREAD:
        _weigh_by_spread(x, w)
    elif kind == _MAGNITUDE:
        for i in range(n):
            store(w, i, magnitude(load(x, i)))
    elif kind == _SQUARE:
        for i in range(n):
            store(w, i, load(x, i) * load(x, i))
    else:
        load_tile(importance, first, w)
    if kind == _ENERGY:
        mean = load(means, first)
        for i in range(n):
            value = load(x, i)
            store(w, i, load(w, i) * square_root(mean + value * value))


@compiled
def sum_rows(w):  # type: ignore[no-untyped-def]
    """The sums of a tile's lanes, in order."""
    total = spread(ZERO)
    for i in range(w.shape[0]):
        total += load(w, i)
    return total
