"""How near a graph's outputs are to the source's, from what the toolchain summed up.

Rule: an output holds things of different size, boxes of hundreds of pixels beside scores below one; a cosine over all
of it sees the large ones alone, so that channels of like size are judged by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Channels whose largest value is within this factor of the largest of their part belong to it.
_SPAN = 16.0
# Parts whose largest value is below this, beside larger ones, are scores that no threshold lets through.
FAINT = 0.05

RESIZED = "its size depends on the data"


@dataclass(frozen=True)
class Part:
    """Channels of like size: how many, the largest value in the source's, the cosine over all samples."""

    channels: int
    peak: float
    cosine: float


@dataclass(frozen=True)
class OutputAgreement:
    """One output over all samples. `parts`: the largest first; `first`: share of rows with the same first choice;
    `equal`: share of equal elements of an output of integers; `error_share`: the errors' squares as a share of those of
    the samples' distances from their mean: 2 where samples are swapped. None where it says nothing."""

    name: str
    samples: int
    other_shape: int
    not_finite: int
    mean_cosine: float | None
    min_cosine: float | None
    mean_error: float | None
    parts: tuple[Part, ...]
    first: float | None
    equal: float | None
    error_share: float | None

    @property
    def broken(self) -> int:
        """Samples for which there is nothing to compare."""
        return self.other_shape + self.not_finite

    @property
    def judged(self) -> tuple[Part, ...]:
        """The parts that must agree."""
        return tuple(part for i, part in enumerate(self.parts) if i == 0 or part.peak >= FAINT)

    @property
    def least(self) -> float | None:
        """The smallest cosine of a sample or of a part that must agree."""
        return None if self.min_cosine is None else min(self.min_cosine, *(part.cosine for part in self.judged), 1.0)


@dataclass(frozen=True)
class Agreement:
    """All outputs of a graph."""

    outputs: tuple[OutputAgreement, ...]

    @property
    def mean_cosine(self) -> float:
        """Of the output that is farthest away."""
        return min((o.mean_cosine for o in self.outputs if o.mean_cosine is not None), default=1.0)

    @property
    def min_cosine(self) -> float:
        """Of the output, and the part of it, that is farthest away."""
        return min((o.least for o in self.outputs if o.least is not None), default=1.0)

    @property
    def first(self) -> float | None:
        """The share of equal first choices, where the only output is one of classes."""
        return self.outputs[0].first if len(self.outputs) == 1 else None

    @property
    def equal(self) -> float | None:
        """The smallest share of equal elements of an output of integers."""
        return min((o.equal for o in self.outputs if o.equal is not None), default=None)

    @property
    def error_share(self) -> float | None:
        """The largest of an output, None where none has one."""
        return max((o.error_share for o in self.outputs if o.error_share is not None), default=None)

    @property
    def failure(self) -> str | None:
        """Why nothing can be said."""
        for output in self.outputs:
            if output.not_finite:
                return f"`{output.name}` is not finite for {output.not_finite} of {output.samples} samples"
            if output.other_shape:
                return (
                    f"`{output.name}` has another shape for {output.other_shape} of {output.samples} samples: {RESIZED}"
                )
        return None


def agreement_of(sums: Sequence[Mapping[str, Any]]) -> Agreement:
    """The agreement that the sums of a script tell. Raises KeyError, TypeError, ValueError for another form."""
    return Agreement(tuple(_output(one) for one in sums))


def _output(sums: Mapping[str, Any]) -> OutputAgreement:
    cosines, errors = [float(c) for c in sums["cosines"]], [float(e) for e in sums["errors"]]
    return OutputAgreement(
        name=str(sums["name"]),
        samples=int(sums["samples"]),
        other_shape=int(sums["other_shape"]),
        not_finite=int(sums["not_finite"]),
        mean_cosine=sum(cosines) / len(cosines) if cosines else None,
        min_cosine=min(cosines, default=None),
        mean_error=sum(errors) / len(errors) if errors else None,
        parts=_parts(sums["channels"]) if cosines else (),
        first=sums["same_first"] / sums["rows"] if sums["rows"] else None,
        equal=sums["same_elements"] / sums["elements"] if sums["elements"] else None,
        error_share=None if sums["error_share"] is None else float(sums["error_share"]),
    )


def _parts(channels: Mapping[str, Sequence[float]]) -> tuple[Part, ...]:
    if not channels:
        return ()
    peaks = channels["peak"]
    order = sorted(range(len(peaks)), key=lambda c: -peaks[c])
    groups: list[list[int]] = []
    for channel in order:
        if not groups or peaks[channel] * _SPAN < peaks[groups[-1][0]]:
            groups.append([])
        groups[-1].append(channel)
    return tuple(Part(len(g), peaks[g[0]], _cosine(channels, g)) for g in groups)


def _cosine(channels: Mapping[str, Sequence[float]], group: Sequence[int]) -> float:
    dot, want, got = (sum(channels[name][c] for c in group) for name in ("dot", "want", "got"))
    if want == 0 and got == 0:
        return 1.0
    return dot / math.sqrt(want * got) if want > 0 and got > 0 else 0.0
