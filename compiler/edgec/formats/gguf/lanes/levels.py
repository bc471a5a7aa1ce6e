"""The final levels of sub-blocks (count, n), from the scale that the file will hold.

Where that scale is zero, ggml keeps the levels of its search: they are those of the best inverse scale.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes import affine
from edgec.formats.gguf.lanes.compiled import ZERO, compiled, nearest

_INVERSE, _BASE = affine.INVERSE, affine.BASE


@compiled
def set_affine(subs, fits, scale, low, top, levels):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Set levels of (x + low) / scale in 0..top."""
    for s in range(subs.shape[0]):
        if scale[s] != ZERO:
            by, plus = scale[s], low[s]
            for i in range(subs.shape[1]):
                levels[s, i] = np.uint8(max(0, min(top, nearest((subs[s, i] + plus) / by))))
        else:
            inverse, base = fits[_INVERSE, s], fits[_BASE, s]
            for i in range(subs.shape[1]):
                levels[s, i] = np.uint8(max(0, min(top, nearest(inverse * (subs[s, i] - base)))))


@compiled
def set_symmetric(subs, inverse, scale, top, levels):  # type: ignore[no-untyped-def]
    """Set levels of x / scale in -top..top-1, plus top; 0 where both scale and inverse are 0."""
    for s in range(subs.shape[0]):
        if scale[s] != ZERO:
            by = scale[s]
            for i in range(subs.shape[1]):
                levels[s, i] = np.uint8(max(-top, min(top - 1, nearest(subs[s, i] / by))) + top)
        elif inverse[s] == ZERO:
            for i in range(subs.shape[1]):
                levels[s, i] = 0
        else:
            by = inverse[s]
            for i in range(subs.shape[1]):
                levels[s, i] = np.uint8(max(-top, min(top - 1, nearest(subs[s, i] * by))) + top)
