"""Divergence of two models' next-token distributions, added up over pieces of the vocabulary.

Runs in the toolchain. Rule: float64, and no more than one block of logits at a time; tokens with a logit that is not
finite are counted, never averaged in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

# Tokens of one block.
_BLOCK_TOKENS = 256


class _Distribution:
    """Running maximum, sum of exponentials and the target's logit of each token, of one model."""

    def __init__(self, tokens: int) -> None:
        self.top = torch.full((tokens,), -math.inf, dtype=torch.float64)
        self.best = torch.zeros(tokens, dtype=torch.int64)
        self.total = torch.zeros(tokens, dtype=torch.float64)
        self.target = torch.zeros(tokens, dtype=torch.float64)

    def add(self, rows: slice, begin: int, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Takes a block; gives what earlier sums were multiplied with."""
        top, best = logits.max(dim=1)
        is_new = top > self.top[rows]
        raised = torch.maximum(top, self.top[rows])
        factor = torch.exp(self.top[rows] - raised)
        self.total[rows] = self.total[rows] * factor + torch.exp(logits - raised[:, None]).sum(dim=1)
        self.top[rows] = raised
        self.best[rows] = torch.where(is_new, best + begin, self.best[rows])
        inside = (targets >= begin) & (targets < begin + logits.shape[1])
        picked = logits.gather(1, (targets - begin).clamp(0, logits.shape[1] - 1)[:, None])[:, 0]
        self.target[rows] = torch.where(inside, picked, self.target[rows])
        return factor

    @property
    def log_total(self) -> torch.Tensor:
        """Logarithm of the sum of exponentials of all logits."""
        return self.top + self.total.log()

    @property
    def loss(self) -> torch.Tensor:
        """Of each token, in nats."""
        return self.log_total - self.target


class DivergenceSums:
    """Adds up the logits of `reference` and `candidate`. `targets`: the token that really follows each position."""

    def __init__(self, targets: list[int]) -> None:
        self._targets = torch.tensor(targets, dtype=torch.int64)
        tokens = len(targets)
        self._reference, self._candidate = _Distribution(tokens), _Distribution(tokens)
        # Sum of exp(reference logit - maximum) * (reference logit - candidate logit).
        self._cross = torch.zeros(tokens, dtype=torch.float64)
        self._finite = torch.ones(tokens, dtype=torch.bool)

    def add(
        self, begin: int, states: tuple[torch.Tensor, torch.Tensor], heads: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        """Takes one piece of the vocabulary from `begin` on: (tokens, width) and (rows, width) of both models."""
        for rows in self.blocks():
            self.add_logits(rows, begin, *(s[rows] @ h.T for s, h in zip(states, heads, strict=True)))

    def blocks(self) -> Iterator[slice]:
        """All tokens, in pieces whose logits are small enough to stand in float64."""
        for first in range(0, len(self._targets), _BLOCK_TOKENS):
            yield slice(first, first + _BLOCK_TOKENS)

    def add_logits(self, rows: slice, begin: int, reference: torch.Tensor, candidate: torch.Tensor) -> None:
        """Takes the logits of some tokens for one piece of the vocabulary; of each token the pieces in their order."""
        found = reference.double(), candidate.double()
        self._finite[rows] &= torch.isfinite(found[0]).all(dim=1) & torch.isfinite(found[1]).all(dim=1)
        p, q = (torch.nan_to_num(logits, 0.0, 0.0, 0.0) for logits in found)
        factor = self._reference.add(rows, begin, p, self._targets[rows])
        self._candidate.add(rows, begin, q, self._targets[rows])
        share = torch.exp(p - self._reference.top[rows][:, None])
        self._cross[rows] = self._cross[rows] * factor + (share * (p - q)).sum(dim=1)

    def result(self, windows: int) -> dict[str, Any]:
        """Averages over all tokens that are finite, and for each window; None where there is none."""
        reference, candidate = self._reference, self._candidate
        kl = self._cross / reference.total - reference.log_total + candidate.log_total
        equal = reference.best == candidate.best
        kept = self._finite.reshape(windows, -1)
        parts = [
            _averages(keep, *(v.reshape(windows, -1)[i] for v in (kl, equal, candidate.loss, reference.loss)))
            for i, keep in enumerate(kept)
        ]
        whole = _averages(self._finite, kl, equal, candidate.loss, reference.loss)
        return {**whole, "broken": int((~self._finite).sum()), "windows": parts}


def _averages(
    kept: torch.Tensor, kl: torch.Tensor, equal: torch.Tensor, loss: torch.Tensor, reference_loss: torch.Tensor
) -> dict[str, Any]:
    tokens = int(kept.sum())
    if tokens == 0:
        return {"tokens": 0, "mean_kl": None, "top1": None, "loss": None, "reference_loss": None}

    def mean(values: torch.Tensor) -> float:
        return math.fsum(values[kept].tolist()) / tokens

    # Rounding can leave a sum of zeros at -1e-17.
    return {
        "tokens": tokens,
        "mean_kl": max(0.0, mean(kl)),
        "top1": mean(equal.double()),
        "loss": mean(loss),
        "reference_loss": mean(reference_loss),
    }
