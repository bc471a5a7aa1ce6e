"""What comes of several routes to a smaller encoder, and whether it is good enough.

Rule: a candidate that was not compared counts as good enough, since the proof will tell; one that failed never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgec.errors import ProofError


@dataclass(frozen=True)
class Candidate:
    """What came of one route on the calibration text or samples; `failed`: why nothing came of it.

    Cosines are with the float32 graph, None where there was none; so is `score_error`, of a reranker: the root mean
    square of the differences as a share of the scores' spread. `time_share`: of the float32 graph's CPU time; `first`:
    share of samples with the same first choice, None where the graph does not choose among classes; `error_share`: the
    errors' squares as a share of those of the samples' distances from their mean, of a graph's worst output.
    """

    name: str
    title: str
    size_bytes: int = 0
    mean_cosine: float | None = None
    min_cosine: float | None = None
    time_share: float | None = None
    failed: str | None = None
    first: float | None = None
    score_error: float | None = None
    error_share: float | None = None

    @property
    def nearness(self) -> float:
        """Larger is nearer to the source; 0 where nothing was compared."""
        return -self.score_error if self.score_error is not None else self.mean_cosine or 0.0

    def __str__(self) -> str:
        """For people."""
        if self.failed is not None:
            return f"{self.name} failed ({self.failed})"
        size = f"{self.name} {self.size_bytes / 1e6:.1f} MB"
        if self.score_error is not None:
            return f"{size}, score error {self.score_error:.4f}"
        if self.mean_cosine is None:
            return size
        first = "" if self.first is None else f", top-1 agreement {self.first:.3f}"
        share = "" if self.error_share is None else f", error share {self.error_share:.2g}"
        return f"{size}, mean {self.mean_cosine:.4f}, smallest {self.min_cosine:.4f}{first}{share}"


@dataclass(frozen=True)
class Demand:
    """Cosines that a candidate must reach, and the share of same first choices; of a reranker, the score error, and of
    a graph, the error share that it must not exceed.
    """

    mean_cosine: float
    min_cosine: float
    first: float = 0.0
    score_error: float | None = None
    error_share: float | None = None

    def met_by(self, candidate: Candidate) -> bool:
        """Whether the candidate is good enough."""
        if candidate.failed is not None:
            return False
        if self.score_error is not None:
            return candidate.score_error is None or candidate.score_error <= self.score_error
        if candidate.mean_cosine is None or candidate.min_cosine is None:
            return True
        near = candidate.mean_cosine >= self.mean_cosine and candidate.min_cosine >= self.min_cosine
        if self.error_share is not None and candidate.error_share is not None:
            near = near and candidate.error_share <= self.error_share
        return near and (candidate.first is None or candidate.first >= self.first)

    def missed_by(
        self, tried: Sequence[Candidate], hint: str, *, judged_on: str = "the calibration text"
    ) -> ProofError:
        """The error when none of the candidates is good enough, with the numbers of each."""
        asked = f"a mean cosine of {self.mean_cosine:g} and a smallest of {self.min_cosine:g}"
        if any(candidate.first is not None for candidate in tried):
            asked += f" and a top-1 agreement of {self.first:g}"
        if self.error_share is not None and any(candidate.error_share is not None for candidate in tried):
            asked += f" and an error share of at most {self.error_share:g}"
        if self.score_error is not None:
            asked = f"a score error of {self.score_error:.3g} of the spread"
        numbers = "; ".join(map(str, tried))
        return ProofError.of(f"no route of {len(tried)} reaches {asked} on {judged_on}: {numbers}", hint=hint)
