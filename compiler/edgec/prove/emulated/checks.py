"""What an emulated run must agree in with the same file on this machine. The limits are measured, with room: see
docs/emulation.md.

Rule: nothing here imports numpy, since `edgec verify` does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from edgec.prove.emulated.subject import Emulation
from edgec.prove.model import Check

MAX_KL = 0.002
MIN_TOP1 = 0.9
MIN_COSINE = 0.995
MAX_SCORE_ERROR = 0.1
_HINT = (
    "the runtime computes other numbers on 64-bit ARM: choose another quantization scheme, and report it; "
    "speed and memory play no part in it"
)


def emulation_checks(emulation: Emulation) -> tuple[Check, ...]:
    """Token ids, finite outputs, and how far the outputs are from this machine's."""
    found, on = emulation.found, f"emulated {emulation.subject.cpu}"
    where = f"on an {emulation.label}, against {emulation.machine}"
    checks = [
        _check(f"{on}: token ids", found["different_ids"], 0, "<=", "different texts", where),
        _check(f"{on}: outputs not finite", found["broken"], 0, "<=", f"of {found['rows']}", where),
    ]
    if found["broken"] < found["rows"]:
        checks += _KINDS[emulation.subject.kind](on, found, where)
    return tuple(checks)


def _decoder(on: str, found: Mapping[str, Any], where: str) -> list[Check]:
    tokens = f"{found['rows']} tokens {where}"
    return [
        _check(f"{on}: KL divergence", found["mean_kl"], MAX_KL, "<=", "nats", tokens),
        _check(f"{on}: top-1 agreement", found["top1"], MIN_TOP1, ">=", "of tokens", tokens),
    ]


def _encoder(on: str, found: Mapping[str, Any], where: str) -> list[Check]:
    texts = f"{found['rows']} texts {where}"
    return [_check(f"{on}: smallest cosine", found["min_cosine"], MIN_COSINE, ">=", "", texts)]


def _reranker(on: str, found: Mapping[str, Any], where: str) -> list[Check]:
    texts = f"{found['rows']} texts {where}"
    return [_check(f"{on}: score error", found["error"], MAX_SCORE_ERROR, "<=", "of the spread", texts)]


_KINDS: Mapping[str, Callable[[str, Mapping[str, Any], str], list[Check]]] = {
    "decoder": _decoder,
    "encoder": _encoder,
    "reranker": _reranker,
}


def _check(name: str, measured: float, limit: float, relation: Literal["<=", ">="], unit: str, detail: str) -> Check:
    passed = measured <= limit if relation == "<=" else measured >= limit
    return Check(
        name=name, measured=measured, threshold=limit, relation=relation, unit=unit, passed=passed, detail=detail,
        hint=_HINT,
    )  # fmt: skip
