"""How far one model's next-token distributions are from another's on the same tokens.

Rule: float64 throughout, in blocks of bounded size; rows with NaN or infinite logits are counted, never averaged in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
_Doubles = npt.NDArray[np.float64]

# Elements of one float64 block: 32 MiB.
_BLOCK_ELEMENTS = 1 << 22
# Share of a unigram model's probability that is spread evenly over the vocabulary.
_UNIFORM_SHARE = 0.1


@dataclass(frozen=True)
class Divergence:
    """Averages over scored tokens. `mean_kl` in nats, of the artifact from the reference; `top1`: share of tokens where
    both find the same token most likely; `broken`: tokens left out because a logit was not finite."""

    tokens: int
    broken: int
    mean_kl: float
    top1: float
    perplexity: float
    reference_perplexity: float

    @property
    def perplexity_ratio(self) -> float:
        """Perplexity of the artifact as a multiple of the reference's."""
        return self.perplexity / self.reference_perplexity


class DivergenceMeter:
    """Adds up pieces of logits, so that nothing big is stored."""

    def __init__(self) -> None:
        self._tokens = self._broken = self._equal = 0
        self._kl: list[float] = []
        self._loss: list[float] = []
        self._reference_loss: list[float] = []

    def add(self, reference: Floats, artifact: Floats, targets: Sequence[int]) -> None:
        """Logits of the same positions, shape (tokens, vocabulary), and the token that really follows each."""
        if reference.shape != artifact.shape or len(targets) != reference.shape[0]:
            raise ValueError(f"logits of {reference.shape} and {artifact.shape} for {len(targets)} tokens")
        step = max(1, _BLOCK_ELEMENTS // reference.shape[1])
        for start in range(0, len(targets), step):
            rows = slice(start, start + step)
            self._add_block(reference[rows], artifact[rows], np.asarray(targets[rows], dtype=np.int64))

    def result(self) -> Divergence:
        """The averages so far. Without one finite token they are NaN."""
        n = self._tokens
        if n == 0:
            return Divergence(0, self._broken, math.nan, math.nan, math.nan, math.nan)
        loss, reference_loss = math.fsum(self._loss) / n, math.fsum(self._reference_loss) / n
        return Divergence(
            tokens=n,
            broken=self._broken,
            # Rounding can leave a sum of zeros at -1e-17.
            mean_kl=max(0.0, math.fsum(self._kl) / n),
            top1=self._equal / n,
            perplexity=_perplexity(loss),
            reference_perplexity=_perplexity(reference_loss),
        )

    def _add_block(self, reference: Floats, artifact: Floats, targets: npt.NDArray[np.int64]) -> None:
        finite = np.isfinite(reference).all(axis=1) & np.isfinite(artifact).all(axis=1)
        self._broken += int((~finite).sum())
        if not finite.any():
            return
        p, q = _log_softmax(reference[finite]), _log_softmax(artifact[finite])
        picked = np.arange(p.shape[0]), targets[finite]
        self._tokens += p.shape[0]
        self._equal += int((p.argmax(axis=1) == q.argmax(axis=1)).sum())
        self._kl.append(float((np.exp(p) * (p - q)).sum()))
        self._loss.append(-float(q[picked].sum()))
        self._reference_loss.append(-float(p[picked].sum()))


def unigram_perplexity(tokens: Sequence[int], n_vocab: int) -> float:
    """Perplexity of `tokens` under a model that knows only how often each token stands in the rest of the text.

    What any language model must beat: one that does not was converted wrongly, or cannot read the text's language.
    """
    counts, n = Counter(tokens), len(tokens)
    uniform = _UNIFORM_SHARE / n_vocab
    seen = (1 - _UNIFORM_SHARE) / max(1, n - 1)
    loss = math.fsum(-count * math.log(seen * (count - 1) + uniform) for count in counts.values())
    return _perplexity(loss / n)


def window_starts(n_tokens: int, window_tokens: int, windows: int) -> list[int]:
    """First indexes of at most `windows` windows, evenly over the text and not overlapping; empty when none fits."""
    count = min(windows, n_tokens // window_tokens)
    room = n_tokens - window_tokens
    return [i * room // max(1, count - 1) for i in range(count)]


def _log_softmax(logits: Floats) -> _Doubles:
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
    return x


def _perplexity(loss: float) -> float:
    """exp(loss); a loss beyond what a float64 can hold stays at the largest, so that a report stays valid JSON."""
    return math.exp(min(loss, 700.0))
