"""The loops of 4-bit rounding: which scale of a group, and which codes, come nearest in what the group contributes.

Rule: inner loops run over independent elements (additions of scaled rows), so that they are vectorised without changing
the order of a sum. Codes are -8..7; scales are given as candidates, already in the precision they are stored in.
"""

from __future__ import annotations

import numpy as np

from edgec.quantize.compiled import compiled

_LOWEST, _HIGHEST = np.float32(-8), np.float32(7)


@compiled
def round_groups(values, gram, candidates, codes, scales):  # type: ignore[no-untyped-def]
    """Rounds `values` (rows, groups, g) to nearest, with the scale of least error.

    `gram` (groups, g, g): products of the inputs, so that the error is that of the output. `candidates` (n, rows,
    groups). Writes `codes` (rows, groups, g) and `scales` (rows, groups).
    """
    rows, groups, size = values.shape
    trial = np.empty(size, np.float32)
    error = np.empty(size, np.float32)
    spread = np.empty(size, np.float32)
    for r in range(rows):
        for g in range(groups):
            best = np.float32(np.inf)
            for c in range(candidates.shape[0]):
                scale = candidates[c, r, g]
                inverse = np.float32(1) / scale
                for i in range(size):
                    trial[i] = min(max(np.rint(values[r, g, i] * inverse), _LOWEST), _HIGHEST)
                    error[i] = values[r, g, i] - trial[i] * scale
                    spread[i] = np.float32(0)
                for j in range(size):
                    e = error[j]
                    for i in range(size):
                        spread[i] += e * gram[g, j, i]
                loss = np.float32(0)
                for i in range(size):
                    loss += spread[i] * error[i]
                if loss < best:
                    best = loss
                    scales[r, g] = scale
                    for i in range(size):
                        codes[r, g, i] = np.int8(trial[i])


@compiled
def round_feedback(target, feedback, diagonal, candidates, codes, scales):  # type: ignore[no-untyped-def]  # noqa: PLR0917
    """Rounds a group's columns one after the other, each with what the errors before it left.

    `target` (rows, g); `feedback` (g, g): row i holds what an error in column i adds to the later columns; `diagonal`
    (g,): weight of a column's own remainder. `candidates` (n, rows). Writes `codes` (rows, g), `scales` (rows,).
    """
    rows, size = target.shape
    wanted = np.empty(size, np.float32)
    trial = np.empty(size, np.float32)
    for r in range(rows):
        best = np.float32(np.inf)
        for c in range(candidates.shape[0]):
            scale = candidates[c, r]
            inverse = np.float32(1) / scale
            for i in range(size):
                wanted[i] = target[r, i]
            loss = np.float32(0)
            for j in range(size):
                code = min(max(np.rint(wanted[j] * inverse), _LOWEST), _HIGHEST)
                trial[j] = code
                left = (wanted[j] - code * scale) * diagonal[j]
                loss += left * left
                if loss >= best:
                    break
                e = target[r, j] - code * scale
                for i in range(j + 1, size):
                    wanted[i] += e * feedback[j, i]
            if loss < best:
                best = loss
                scales[r] = scale
                for i in range(size):
                    codes[r, i] = np.int8(trial[i])
