"""From the scales of a block's sub-blocks to one scale of the block and small whole numbers.

Shapes: `values` (blocks, sub-blocks), `factor` (blocks) float32, `index` as values, `odd` (blocks): lanes may not
follow ggml.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes.compiled import INFINITY, LANES, ONE, ROUND, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.descent import fit_positive
from edgec.formats.gguf.lanes.symmetric import fit_tile
from edgec.formats.gguf.lanes.tile import load_tile


@compiled
def mark_blocks(odd, special):  # type: ignore[no-untyped-def]
    """Set special (blocks) where any of a block's sub-blocks is odd."""
    per_block = odd.size // special.size
    for b in range(special.size):
        special[b] = False
        for j in range(per_block):
            special[b] |= odd[b * per_block + j]


@compiled
def index_by_top(values, top, factor, index, odd):  # type: ignore[no-untyped-def]
    """The greatest value becomes `top`, the others follow; values are not negative."""
    for b in range(values.shape[0]):
        greatest = ZERO
        for j in range(values.shape[1]):
            greatest = max(greatest, values[b, j])
        by = top / greatest if greatest > ZERO else ZERO
        odd[b] |= not (by < INFINITY)
        for j in range(values.shape[1]):
            index[b, j] = np.uint8(max(ZERO, min(top, (by * values[b, j] + ROUND) - ROUND)))
        factor[b] = greatest / top


@compiled
def index_by_peak(values, top, least, factor, index, odd):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """The value of the greatest magnitude becomes -top; indices in -top..top-1, signed.

    When all magnitudes are below `least`, `factor` and indices are 0.
    """
    for b in range(values.shape[0]):
        magnitude, peak = ZERO, ZERO
        for j in range(values.shape[1]):
            if abs(values[b, j]) > magnitude:
                magnitude, peak = abs(values[b, j]), values[b, j]
        peak = ZERO if magnitude < least else peak
        by = -top / peak if peak != ZERO else ZERO
        odd[b] |= not (abs(by) < INFINITY)
        for j in range(values.shape[1]):
            index[b, j] = np.int8(max(-top, min(top - ONE, (by * values[b, j] + ROUND) - ROUND)))
        factor[b] = ONE / by if peak != ZERO else ZERO


@compiled
def index_by_positive_fit(values, weights, steps, top, factor, index, odd):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Least squares with `weights`, as values; indices in 0..top."""
    n, count = values.shape[1], values.shape[0]
    x, w, level = scratch(n), scratch(n), scratch(n)
    fit = scratch(8)
    for first in range(0, count, LANES):
        load_tile(values, first, x)
        load_tile(weights, first, w)
        fit_positive(x, w, steps, top, level, fit)
        for k in range(min(LANES, count - first)):
            factor[first + k] = fit[0, k]
            odd[first + k] |= not (fit[0, k] < INFINITY)
            for j in range(n):
                index[first + k, j] = np.uint8(level[j, k])


@compiled
def index_by_symmetric_fit(values, weights, steps, top, factor, index, odd):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Least squares with `weights`, as values; indices in 0..2 * top - 1 (0 when all values are zero)."""
    n, count = values.shape[1], values.shape[0]
    x, w, weighted = scratch(n), scratch(n), scratch(n)
    fit = scratch(7)
    for first in range(0, count, LANES):
        load_tile(values, first, x)
        load_tile(weights, first, w)
        fit_tile(x, w, weighted, steps, top, fit)
        for k in range(min(LANES, count - first)):
            factor[first + k] = fit[0, k]
            odd[first + k] |= not (abs(fit[0, k]) < INFINITY)
            zero = ZERO if fit[1, k] == ZERO else top
            for j in range(n):
                level = (fit[1, k] * x[j, k] + ROUND) - ROUND
                index[first + k, j] = np.uint8(max(-top, min(top - ONE, level)) + zero)
