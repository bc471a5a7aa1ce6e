"""ggml's search for a scale without a minimum (make_qx_quants), in lanes.

x is about scale * level, level in -top..top-1; the element of the greatest magnitude becomes about -top.
"""

from __future__ import annotations

from edgec.formats.gguf.lanes.compiled import ONE, ZERO, compiled, scratch
from edgec.formats.gguf.lanes.memory import load, store
from edgec.formats.gguf.lanes.rounding import nearest_level
from edgec.formats.gguf.lanes.tile import Weights, find_seen_peak, load_tile, sum_rows, weigh
from edgec.formats.gguf.lanes.vector import WIDTH, all_of, choose, spread

# Rows of the result (rows, sub-blocks). The best levels are those of inverse * x; inverse 0: a sub-block of zeros.
SCALE, INVERSE, WEIGHT = range(3)
ROWS = 3
_ENERGY = int(Weights.ENERGY)


@compiled
def _sum_levels(x, w, weighted, inverse, top):  # type: ignore[no-untyped-def]
    """The sums of w * x * level and w * level^2."""
    sum_xl, sum_ll = spread(ZERO), spread(ZERO)
    for i in range(x.shape[0]):
        level = nearest_level(inverse * load(x, i), -top, top - ONE)
        sum_xl += load(weighted, i) * level
        sum_ll += load(w, i) * level * level
    return sum_xl, sum_ll


@compiled
def fit_tile(x, w, weighted, peak, steps, top):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """The best scale and the inverse that gives its levels.

    `weighted`: scratch, as x; `peak`: that of x.
    """
    flat = peak == ZERO
    if all_of(flat):
        return spread(ZERO), spread(ZERO)
    for i in range(x.shape[0]):
        store(weighted, i, load(w, i) * load(x, i))
    kept_inverse = choose(flat, ZERO, -top / peak)
    sum_xl, sum_ll = _sum_levels(x, w, weighted, kept_inverse, top)
    scale = choose(sum_ll == ZERO, ZERO, sum_xl / sum_ll)
    best = scale * sum_xl
    for step in steps:
        inverse = choose(flat, ZERO, step / peak)
        sum_xl, sum_ll = _sum_levels(x, w, weighted, inverse, top)
        better = (sum_ll > ZERO) & (sum_xl * sum_xl > best * sum_ll)
        new_scale = sum_xl / sum_ll
        scale = choose(better, new_scale, scale)
        best = choose(better, new_scale * sum_xl, best)
        kept_inverse = choose(better, inverse, kept_inverse)
    return choose(flat, ZERO, scale), kept_inverse


@compiled
def search(subs, kind, importance, means, steps, top, fits):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Fill in fits (ROWS, padded count)."""
    n = subs.shape[1]
    x, w, weighted = scratch(n), scratch(n), scratch(n)
    for first in range(0, subs.shape[0], WIDTH):
        load_tile(subs, first, x)
        peak = find_seen_peak(x)
        if all_of(peak == ZERO) and kind != _ENERGY:
            # The sums of the weights are read of ENERGY only.
            store(fits[SCALE], first, spread(ZERO))
            store(fits[INVERSE], first, spread(ZERO))
            continue
        weigh(kind, x, first, importance, means, w)
        scale, inverse = fit_tile(x, w, weighted, peak, steps, top)
        store(fits[SCALE], first, scale)
        store(fits[INVERSE], first, inverse)
        store(fits[WEIGHT], first, sum_rows(w))
