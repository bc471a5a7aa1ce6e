"""The final levels of sub-blocks, from the scale that the file will hold.

Where that scale is zero, ggml keeps the levels of its search: they are those of the best inverse scale.
Shapes: `values` and `levels` flat, in file order; every other array has a number for each sub-block of n elements, 16
or a multiple of WIDTH.
"""

from __future__ import annotations

from edgec.formats.gguf.lanes.compiled import ONE, ZERO, compiled
from edgec.formats.gguf.lanes.memory import load, store_bytes
from edgec.formats.gguf.lanes.rounding import castable, nearest_bounded, nearest_level
from edgec.formats.gguf.lanes.vector import WIDTH, any_of, choose, spread_pair, to_integers

_HALF = WIDTH // 2


@compiled
def _of(numbers, element, n):  # type: ignore[no-untyped-def]
    """Those of the sub-blocks that WIDTH elements from `element` on lie in."""
    return spread_pair(numbers[element // n], numbers[(element + _HALF) // n])


@compiled
def _searched_affine(value, inverse, base, top, bounded):  # type: ignore[no-untyped-def]
    scaled = inverse * (value - base)
    return nearest_bounded(scaled, top) if bounded else nearest_level(scaled, ZERO, top)


@compiled
def set_searched_affine(values, n, inverse, base, top, levels):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set the levels in 0..top that a bounded search ended with."""
    for e in range(0, values.size, WIDTH):
        store_bytes(levels, e, _searched_affine(load(values, e), _of(inverse, e, n), _of(base, e, n), top, True))


@compiled
def set_affine(values, n, scale, low, inverse, base, top, bounded, levels):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set levels of (x + low) / scale in 0..top; `bounded`: as in the search."""
    for e in range(0, values.size, WIDTH):
        value, by = load(values, e), _of(scale, e, n)
        level = nearest_level((value + _of(low, e, n)) / by, ZERO, top)
        if any_of(by == ZERO):
            searched = _searched_affine(value, _of(inverse, e, n), _of(base, e, n), top, bounded)
            level = choose(by == ZERO, searched, level)
        store_bytes(levels, e, level)


@compiled
def _searched_symmetric(value, by, top):  # type: ignore[no-untyped-def]
    return choose(by == ZERO, ZERO, nearest_level(by * value, -top, top - ONE) + top)


@compiled
def set_searched_symmetric(values, n, inverse, top, levels):  # type: ignore[no-untyped-def]
    """Set the levels in -top..top-1, plus top, that the search ended with; 0 for zeros."""
    for e in range(0, values.size, WIDTH):
        store_bytes(levels, e, _searched_symmetric(load(values, e), _of(inverse, e, n), top))


@compiled
def set_symmetric(values, n, scale, inverse, top, levels):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set levels of x / scale in -top..top-1, plus top; 0 where both scale and inverse are 0."""
    for e in range(0, values.size, WIDTH):
        value, by = load(values, e), _of(scale, e, n)
        level = nearest_level(value / by, -top, top - ONE) + top
        if any_of(by == ZERO):
            level = choose(by == ZERO, _searched_symmetric(value, _of(inverse, e, n), top), level)
        store_bytes(levels, e, level)


@compiled
def keep_levels(late, kept, scale, levels):  # type: ignore[no-untyped-def]
    """Take the levels `kept` (tiles, n, WIDTH) of sub-blocks `late` where the scale is zero; `levels` (count, n)."""
    for j in range(late.size):
        s = late[j]
        if scale[s] == ZERO:
            for i in range(levels.shape[1]):
                levels[s, i] = kept[j // WIDTH, i, j % WIDTH]


@compiled
def set_truncated(values, n, inverse, base, plus, top, levels):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set levels of (x - base) * inverse + plus, cut to an integer, at most `top`."""
    for e in range(0, values.size, WIDTH):
        level = to_integers(castable((load(values, e) - _of(base, e, n)) * _of(inverse, e, n) + plus))
        store_bytes(levels, e, choose(level < top, level, top))
