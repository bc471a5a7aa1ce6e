"""Proves an engine: it loads on this device, and continues the recorded prompts as the artifact's weights do.

Rule: greedy decoding of two implementations may part where two tokens are nearly as probable, and nowhere else. After
that the two read different texts, so that only positions up to the first other token are compared. What the runtime
does not give is listed as not verified, never left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgec.bundle.finalize_plan import FinalizePlan
from edgec.device.reference import DeviceReference, RecordedPrompt
from edgec.device.vendor import Vendor
from edgec.errors import DeviceError, Diagnostic, ProofError
from edgec.events import Reporter
from edgec.prove.model import Check, NotVerified
from edgec.toolchain.process import ToolEndedError

ACTION = "prove engine"
# For a token that the engine does not name among its most probable ones.
_BELOW_LAST_NATS = 0.1
_HINT = "the engine is not the model: build it again; if it happens twice, report it with this device's facts"


class Continuation(BaseModel):
    """What the engine made of a prompt. `top`: token -> log probability at each position; `prompt_tokens`: read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: tuple[int, ...]
    top: tuple[dict[int, float], ...] = ()
    prompt_tokens: int | None = None


class Answer(BaseModel):
    """What a runner answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runtime: str
    continuations: tuple[Continuation, ...]
    not_verified: tuple[NotVerified, ...] = Field(())


@dataclass(frozen=True)
class EngineProof:
    """A proof of an engine that may have failed."""

    runtime: str
    checks: tuple[Check, ...]
    not_verified: tuple[NotVerified, ...]

    def require_passed(self) -> None:
        """Raises ProofError with every check that failed."""
        failed = [check for check in self.checks if not check.passed]
        if failed:
            raise ProofError(
                *(Diagnostic(f"the engine failed its proof: {c.as_text()}", hint=c.hint) for c in failed),
                data={"checks": [check.model_dump(mode="json") for check in self.checks]},
            )


def prove_engine(
    plan: FinalizePlan,
    reference: DeviceReference,
    vendor: Vendor,
    *,
    model: Path,
    engine: Path,
    log: Path,
    report: Reporter,
) -> EngineProof:
    """Runs the engine and compares. Raises DeviceError when it does not run, ProofError when it answers too little."""
    request = {
        "ask": "generate",
        "model": str(model),
        "engine": str(engine),
        "prompts": [{"tokens": list(p.tokens), "text": p.text} for p in reference.prompts],
        "new_tokens": reference.new_tokens,
        "top": reference.width,
        "limits": plan.limits.model_dump(),
    }
    try:
        answered = vendor.ask(request, log=log, timeout_s=plan.proof.timeout_s, action=ACTION, report=report)
        answer = Answer.model_validate(answered)
    except ToolEndedError as error:
        memory = "memory ran out: end other programs, or build a bundle with a shorter context; "
        raise DeviceError.of(
            f"the engine does not run: {error.diagnostics[0].message}",
            hint=f"{memory if error.ran_out_of_memory else ''}the whole output is in {log}",
        ) from error
    except ValidationError as error:
        raise DeviceError.of(
            f"the runner's answer cannot be used: {error.errors(include_url=False)[0]['msg']}",
            hint=f"the whole output is in {log}",
        ) from error
    return compare(plan, reference, answer)


def compare(plan: FinalizePlan, reference: DeviceReference, answer: Answer) -> EngineProof:
    """The engine's answer against the reference."""
    if len(answer.continuations) != len(reference.prompts):
        message = f"the engine answered {len(answer.continuations)} of {len(reference.prompts)} prompts"
        raise ProofError.of(message, hint=_HINT)
    pairs = list(zip(reference.prompts, answer.continuations, strict=True))
    missing = [*answer.not_verified]
    checks = [_prompt_check(pairs), *_token_checks(plan, pairs)]
    divergences = [value for prompt, made in pairs for value in _divergences(prompt, made)]
    if divergences:
        mean = math.fsum(divergences) / len(divergences)
        detail = f"over {len(divergences)} positions"
        checks.append(_check("mean KL divergence", mean, plan.proof.max_kl_nats, "<=", "nats", detail))
    elif not any(n.what == "logits" for n in missing):
        missing.append(
            NotVerified(what="logits", why="the runtime gave no log probabilities, or the bundle records none")
        )
    return EngineProof(answer.runtime, tuple(checks), tuple(missing))


Pair = tuple[RecordedPrompt, Continuation]


def _prompt_check(pairs: Sequence[Pair]) -> Check:
    """A runtime that takes text must read the same number of tokens."""
    wrong = sum(made.prompt_tokens not in (None, len(prompt.tokens)) for prompt, made in pairs)
    return _check("prompts read as other tokens", float(wrong), 0.0, "==", "prompts", f"of {len(pairs)}")


def _token_checks(plan: FinalizePlan, pairs: Sequence[Pair]) -> list[Check]:
    first = sum(_agreed(prompt, made) > 0 for prompt, made in pairs) / len(pairs)
    total = sum(len(prompt.continuation) for prompt, _ in pairs)
    prefix = sum(_agreed(prompt, made) for prompt, made in pairs) / total
    gaps = [gap for prompt, made in pairs if (gap := _gap(prompt, made)) is not None]
    checks = [
        _check("first tokens as recorded", first, plan.proof.min_first_token, ">=", "", f"{len(pairs)} prompts"),
        _check("tokens before the first other one", prefix, plan.proof.min_prefix, ">=", "", f"of {total}"),
    ]
    if any(prompt.top for prompt, _ in pairs):
        largest = max(gaps, default=0.0)
        detail = f"{len(gaps)} of {len(pairs)} continuations part"
        checks.append(_check("gap where it parts", largest, plan.proof.max_gap_nats, "<=", "nats", detail))
    return checks


def _agreed(prompt: RecordedPrompt, made: Continuation) -> int:
    """How many tokens are the same before the first other one."""
    for index, token in enumerate(prompt.continuation):
        if index >= len(made.tokens) or made.tokens[index] != token:
            return index
    return len(prompt.continuation)


def _gap(prompt: RecordedPrompt, made: Continuation) -> float | None:
    """By how much the reference likes the engine's first other token less than its own; None when there is none."""
    at = _agreed(prompt, made)
    if at == len(prompt.continuation) or not prompt.top:
        return None
    liked = {entry.token: entry.logprob for entry in prompt.top[at]}
    best = max(liked.values(), default=0.0)
    # An engine that stops early took the end as its token, which it does not name.
    token = made.tokens[at] if at < len(made.tokens) else None
    return (
        best - liked.get(token, min(liked.values(), default=0.0) - _BELOW_LAST_NATS) if token is not None else math.inf
    )


def _divergences(prompt: RecordedPrompt, made: Continuation) -> list[float]:
    """Divergence at each common position, over the recorded tokens and all others as one."""
    common = min(_agreed(prompt, made) + 1, len(prompt.top), len(made.top))
    return [_divergence({e.token: e.logprob for e in prompt.top[i]}, made.top[i]) for i in range(common) if made.top[i]]


def _divergence(recorded: Mapping[int, float], made: Mapping[int, float]) -> float:
    lowest = min(made.values()) - _BELOW_LAST_NATS
    pairs = [(math.exp(logprob), math.exp(made.get(token, lowest))) for token, logprob in recorded.items()]
    rest = (1 - math.fsum(p for p, _ in pairs), 1 - math.fsum(q for _, q in pairs))
    return math.fsum(p * math.log(p / max(q, 1e-12)) for p, q in [*pairs, rest] if p > 1e-12)


def _check(  # noqa: PLR0917 - the words of a check in the order they are read
    name: str, measured: float, threshold: float, relation: Literal["<=", ">=", "=="], unit: str, detail: str
) -> Check:
    passed = {"<=": measured <= threshold, ">=": measured >= threshold, "==": measured == threshold}[relation]
    # JSON has no infinity, and the receipt is JSON.
    value = measured if math.isfinite(measured) else 1e9
    return Check(
        name=name, measured=value, threshold=threshold, relation=relation, unit=unit, passed=passed, detail=detail,
        hint=None if passed else _HINT,
    )  # fmt: skip
