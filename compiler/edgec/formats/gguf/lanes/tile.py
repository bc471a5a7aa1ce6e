"""Tiles: sub-blocks transposed into lanes, and the weights that ggml gives to their elements.

Shapes: `subs` (count, n) sub-blocks in file order; a tile (n, LANES). The last tile repeats the last sub-block.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from edgec.formats.gguf.lanes.compiled import LANES, ZERO, compiled


class Weights(IntEnum):
    """How much the error of an element counts. x: the element, c: the importance of its column."""

    SPREAD = 0  # root mean square of the sub-block + |x|
    MAGNITUDE = 1  # |x|
    SQUARE = 2  # x^2
    IMPORTANCE = 3  # c
    ENERGY = 4  # c * sqrt(mean square of the block or row + x^2)


_SPREAD, _MAGNITUDE, _SQUARE = int(Weights.SPREAD), int(Weights.MAGNITUDE), int(Weights.SQUARE)
_ENERGY = int(Weights.ENERGY)
# Sums that are taken side by side, to wait less for each addition.
_SIDE = 16


@compiled
def load_tile(subs, first, tile):  # type: ignore[no-untyped-def]
    """Transpose sub-blocks from `first` on."""
    last = subs.shape[0] - 1
    for k in range(LANES):
        sub = min(first + k, last)
        for i in range(subs.shape[1]):
            tile[i, k] = subs[sub, i]


@compiled
def mean_squares(groups, factor, divisor, out):  # type: ignore[no-untyped-def]
    """Fill in factor * sum / divisor of the squares of each group (count, elements), added in order."""
    last = groups.shape[0] - 1
    sums = np.empty(_SIDE, np.float32)
    for first in range(0, groups.shape[0], _SIDE):
        for g in range(_SIDE):
            sums[g] = ZERO
        for i in range(groups.shape[1]):
            for g in range(_SIDE):
                value = groups[min(first + g, last), i]
                sums[g] += value * value
        for g in range(min(_SIDE, groups.shape[0] - first)):
            out[first + g] = factor * sums[g] / divisor


@compiled
def _load_importance(importance, first, w):  # type: ignore[no-untyped-def]
    """Set w to the importance of the columns that the tile's elements lie in."""
    n = w.shape[0]
    for k in range(LANES):
        column = (first + k) * n % importance.size
        for i in range(n):
            w[i, k] = importance[column + i]


@compiled
def _spread(x, w):  # type: ignore[no-untyped-def]
    n = x.shape[0]
    mean = np.zeros(LANES, np.float32)
    for i in range(n):
        for k in range(LANES):
            mean[k] += x[i, k] * x[i, k]
    for k in range(LANES):
        mean[k] = np.sqrt(mean[k] / np.float32(n))
    for i in range(n):
        for k in range(LANES):
            w[i, k] = mean[k] + abs(x[i, k])


@compiled
def weigh(kind, x, first, importance, means, w):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set w (n, LANES) for a tile; `means`: the mean square of every block or row, used by ENERGY only."""
    n = x.shape[0]
    if kind == _SPREAD:
        _spread(x, w)
    elif kind == _MAGNITUDE:
        for i in range(n):
            for k in range(LANES):
                w[i, k] = abs(x[i, k])
    elif kind == _SQUARE:
        for i in range(n):
            for k in range(LANES):
                w[i, k] = x[i, k] * x[i, k]
    else:
        _load_importance(importance, first, w)
    if kind == _ENERGY:
        mean = np.empty(LANES, np.float32)
        per_mean = means[1]
        for k in range(LANES):
            mean[k] = means[0][min((first + k) // per_mean, means[0].size - 1)]
        for i in range(n):
            for k in range(LANES):
                w[i, k] *= np.sqrt(mean[k] + x[i, k] * x[i, k])
