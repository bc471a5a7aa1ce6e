"""What an emulated run must agree in with the same file on this machine. The limits are measured, with room: see
docs/emulation.md.

Rule: nothing here imports numpy, since `edgec verify` does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgec.prove.emulated.subject import Emulation
from edgec.prove.model import Check, NotVerified

MAX_KL = 0.005
MIN_TOP1 = 0.9
MIN_COSINE = 0.98
MAX_SCORE_ERROR = 0.3
MIN_EQUAL = 0.9
LIMITS = {
    "max_kl": MAX_KL,
    "min_top1": MIN_TOP1,
    "min_cosine": MIN_COSINE,
    "max_score_error": MAX_SCORE_ERROR,
    "min_equal": MIN_EQUAL,
}
NOT_ON_HARDWARE = "not verified on hardware"
_HINT = (
    "the runtime computes other numbers on 64-bit ARM: choose another quantization scheme, and report it; "
    "speed and memory play no part in it"
)


def emulation_checks(emulation: Emulation) -> tuple[Check, ...]:
    """Token ids where the runtime makes them, finite outputs, and how far the outputs are from this machine's."""
    found = emulation.found
    limits = [
        _Limit("token ids", "different_ids", 0, "<=", "different texts"),
        _Limit("outputs not finite", "broken", 0, "<=", f"of {found['rows']}"),
        *_KINDS[emulation.subject.kind],
    ]
    return tuple(_check(emulation, limit) for limit in limits if limit.key in found)


def emulation_limits(emulation: Emulation) -> tuple[NotVerified, ...]:
    """What is still not verified; the first takes the place of a proof's words on the device's kernels."""
    kernels = NotVerified(
        what="the device's own kernels",
        why=f"{emulation.label}, {NOT_ON_HARDWARE}: {emulation.runtime} was compared with {emulation.machine} on "
        f"{emulation.found['rows']} outputs; speed, power and memory were not looked at",
    )
    return (kernels, *emulation.gaps)


@dataclass(frozen=True)
class _Limit:
    """What one of the measured numbers, at `key`, must not pass."""

    name: str
    key: str
    limit: float
    relation: Literal["<=", ">="]
    unit: str


_COSINE = _Limit("smallest cosine", "min_cosine", MIN_COSINE, ">=", "")
_KINDS: Mapping[str, tuple[_Limit, ...]] = {
    "decoder": (
        _Limit("KL divergence", "mean_kl", MAX_KL, "<=", "nats"),
        _Limit("top-1 agreement", "top1", MIN_TOP1, ">=", "of tokens"),
    ),
    "encoder": (_COSINE,),
    "classifier": (_COSINE,),
    "graph": (_COSINE, _Limit("equal whole numbers", "equal", MIN_EQUAL, ">=", "of them")),
    "reranker": (_Limit("score error", "error", MAX_SCORE_ERROR, "<=", "of the spread"),),
}


def _check(emulation: Emulation, limit: _Limit) -> Check:
    measured = float(emulation.found[limit.key])
    return Check(
        name=f"emulated {emulation.subject.cpu}: {limit.name}",
        measured=measured,
        threshold=limit.limit,
        relation=limit.relation,
        unit=limit.unit,
        passed=measured <= limit.limit if limit.relation == "<=" else measured >= limit.limit,
        detail=f"{emulation.found['rows']} outputs against {emulation.machine}, {NOT_ON_HARDWARE}",
        hint=_HINT,
    )
