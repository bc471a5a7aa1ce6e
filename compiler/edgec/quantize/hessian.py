"""Products of a layer's inputs, and their triangular factor that GPTQ rounds along.

Rule: the matrix is (inputs, inputs) in float32 and there is one of it: it is summed up and factored in place, block by
block, because for a large model it is the largest thing in memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_BLOCK = 256
# Added to the diagonal, as a share of its mean; as in the method's paper.
DAMPING = 0.01
_TRIES = 6


class Hessian:
    """The sum over tokens of x x^T, of which only the upper triangle's blocks are kept."""

    def __init__(self, channels: int) -> None:
        self.matrix = np.zeros((channels, channels), np.float32)

    def add(self, x: Floats) -> None:
        """Adds tokens (tokens, channels)."""
        channels = len(self.matrix)
        for begin in range(0, channels, _BLOCK):
            end = min(begin + _BLOCK, channels)
            self.matrix[:end, begin:end] += x[:, :end].T @ x[:, begin:end]

    def factor(self) -> Floats:
        """Turns the damped matrix into R, upper triangular, with R R^T equal to it; below the diagonal stands 0.

        Errors e of a row of weights then change the output by |e R|, and column i of R knows only errors up to i.
        """
        matrix, channels = self.matrix, len(self.matrix)
        diagonal = matrix.reshape(-1)[:: channels + 1]
        damping = max(DAMPING * float(diagonal.mean()), 1e-8)
        diagonal += np.float32(damping)
        begins = range(0, channels, _BLOCK)
        for begin in reversed(begins):
            end = min(begin + _BLOCK, channels)
            panel = matrix[:end, begin:end]
            if end < channels:
                panel -= matrix[:end, end:] @ matrix[begin:end, end:].T
            corner = _upper_factor(panel[begin:].astype(np.float64), damping)
            panel[begin:] = corner
            if begin:
                panel[:begin] = np.linalg.solve(corner, panel[:begin].T.astype(np.float64)).T
            matrix[end:, begin:end] = 0
        return matrix


def _upper_factor(block: NDArray[np.float64], damping: float) -> NDArray[np.float64]:
    """R with R R^T equal to `block`; more is added to the diagonal where rounding made it lose its sign."""
    upper = np.triu(block)
    whole = upper + np.triu(block, 1).T
    for attempt in range(_TRIES):
        try:
            return np.linalg.cholesky(whole[::-1, ::-1])[::-1, ::-1].astype(np.float64)
        except np.linalg.LinAlgError:
            whole[np.diag_indices_from(whole)] += damping * 10**attempt
    raise ArithmeticError("the products of the inputs have no factor, whatever is added to their diagonal")
