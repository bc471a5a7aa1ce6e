"""What is kept of a stage's inputs while they pass by: sums, a sample of tokens, and their products.

Rule: the size depends on the number of channels, never on that of the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgec.quantize.budget import sample_size
from edgec.quantize.hessian import Hessian

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Wanted:
    """Which statistics a method needs. `gram_size`: group size of the products within groups, or None."""

    sample: bool = False
    hessian: bool = False
    gram_size: int | None = None


class InputStatistics:
    """Statistics of the inputs (tokens, channels) of the linears of one stage, over `tokens` tokens."""

    def __init__(self, channels: int, tokens: int, wanted: Wanted) -> None:
        self.greatest = np.zeros(channels, np.float32)
        self._sum = np.zeros(channels, np.float64)
        self._tokens, self._seen = tokens, 0
        self._chosen = np.linspace(0, tokens - 1, min(tokens, sample_size(channels))).astype(int)
        self._sample = np.empty((len(self._chosen) if wanted.sample else 0, channels), np.float32)
        self.hessian = Hessian(channels) if wanted.hessian else None
        size = wanted.gram_size
        self._gram = np.zeros((channels // size, size, size), np.float32) if size else None

    @property
    def mean(self) -> Floats:
        """Mean magnitude per channel."""
        return (self._sum / self._tokens).astype(np.float32)

    @property
    def sample(self) -> Floats:
        """Tokens spread evenly over all."""
        return self._sample

    @property
    def gram(self) -> Floats:
        """Mean products of the inputs within groups (groups, g, g)."""
        if self._gram is None:
            raise ValueError("no products were asked for")
        return self._gram / np.float32(self._tokens)

    def add(self, x: Floats) -> None:
        """The next tokens (tokens, channels)."""
        magnitude = np.abs(x)
        np.maximum(self.greatest, magnitude.max(axis=0), out=self.greatest)
        self._sum += magnitude.sum(axis=0, dtype=np.float64)
        if len(self._sample):
            own = (self._chosen >= self._seen) & (self._chosen < self._seen + len(x))
            self._sample[own] = x[self._chosen[own] - self._seen]
        if self.hessian is not None:
            self.hessian.add(x)
        if self._gram is not None:
            size = self._gram.shape[1]
            for g in range(len(self._gram)):
                part = x[:, g * size : (g + 1) * size]
                self._gram[g] += part.T @ part
        self._seen += len(x)
