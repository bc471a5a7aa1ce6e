"""From the scales of a block's sub-blocks to one scale of the block and small whole numbers.

Shapes: `values` (blocks, sub-blocks), `factor` (blocks) float32, `index` as values, one byte each, wrapped as ggml's.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes.compiled import ONE, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.descent import fit_positive
from edgec.formats.gguf.lanes.memory import load, store
from edgec.formats.gguf.lanes.rounding import nearest, nearest_level
from edgec.formats.gguf.lanes.symmetric import fit_tile
from edgec.formats.gguf.lanes.tile import find_seen_peak, load_tile
from edgec.formats.gguf.lanes.vector import WIDTH, choose


@compiled
def index_by_top(values, top, factor, index):  # type: ignore[no-untyped-def]
    """The greatest value becomes `top`, the others follow."""
    for b in range(values.shape[0]):
        greatest = ZERO
        for j in range(values.shape[1]):
            greatest = values[b, j] if values[b, j] > greatest else greatest
        by = top / greatest if greatest > ZERO else ZERO
        for j in range(values.shape[1]):
            index[b, j] = np.uint8(nearest(by * values[b, j]) & np.int32(0xFF))
        factor[b] = greatest / top


@compiled
def index_by_peak(values, top, least, factor, index):  # type: ignore[no-untyped-def]
    """The value of the greatest magnitude becomes -top; indices in -top..top-1, signed.

    When all magnitudes are below `least`, or zero, `factor` is 0 and the indices are -top.
    """
    low, high = -np.int32(top), np.int32(top) - np.int32(1)
    for b in range(values.shape[0]):
        magnitude, peak = ZERO, ZERO
        for j in range(values.shape[1]):
            if abs(values[b, j]) > magnitude:
                magnitude, peak = abs(values[b, j]), values[b, j]
        if peak == ZERO or magnitude < least:
            factor[b], index[b] = ZERO, low
            continue
        by = -top / peak
        for j in range(values.shape[1]):
            # ggml keeps the nearest integer in 8 bits, where those of Q6_K have no bounds but these.
            near = nearest(by * values[b, j])
            index[b, j] = max(low, min(high, near if high > 100 else np.int32(np.int8(near))))
        factor[b] = ONE / by


@compiled
def index_by_positive_fit(values, weights, steps, top, factor, index):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Least squares with `weights`, as values; indices in 0..top."""
    n, count = values.shape[1], values.shape[0]
    x, w, level, scale = scratch(n), scratch(n), scratch(n), scratch(1)
    for first in range(0, count, WIDTH):
        load_tile(values, first, x)
        load_tile(weights, first, w)
        store(scale, 0, fit_positive(x, w, steps, top, level))
        for k in range(min(WIDTH, count - first)):
            factor[first + k] = scale[0, k]
            for j in range(n):
                index[first + k, j] = np.uint8(level[j, k])


@compiled
def index_by_symmetric_fit(values, weights, steps, top, factor, index):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Least squares with `weights`, as values; indices in 0..2 * top - 1 (0 when all values are zero)."""
    n, count = values.shape[1], values.shape[0]
    x, w, weighted, scale = scratch(n), scratch(n), scratch(n), scratch(1)
    for first in range(0, count, WIDTH):
        load_tile(values, first, x)
        load_tile(weights, first, w)
        peak = find_seen_peak(x)
        best, inverse = fit_tile(x, w, weighted, peak, steps, top)
        store(scale, 0, best)
        # Not told by the inverse, which is 0 for infinite values too.
        flat = peak == ZERO
        for j in range(n):
            level = nearest_level(inverse * load(x, j), -top, top - ONE) + top
            store(x, j, choose(flat, ZERO, level))
        for k in range(min(WIDTH, count - first)):
            factor[first + k] = scale[0, k]
            for j in range(n):
                index[first + k, j] = np.uint8(x[j, k])
