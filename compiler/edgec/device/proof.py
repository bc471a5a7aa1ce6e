"""Proves an engine: it loads on this device, and answers as the recorded reference does.

Rule: the comparison is the reference's own (`edgec/prove/device_reference.py`). What the runtime does not give is
listed as not verified, never left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgec.bundle.finalize_plan import FinalizePlan
from edgec.device.vendor import Vendor
from edgec.errors import DeviceError, Diagnostic, ProofError, ToolError
from edgec.events import Reporter
from edgec.prove.device_reference import DeviceReference, EngineAnswer
from edgec.prove.model import Check, NotVerified
from edgec.toolchain.process import ToolEndedError

ACTION = "prove engine"


class RunnerStoppedError(DeviceError):
    """The runner was ended from outside: it says nothing of the engine, which may be proven later."""


_HINT = "the engine is not the model: finalize again; if it happens twice, report it with `edgec device facts`"


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunnerAnswer(_Doc):
    """What a runner answers. `prompt_tokens`: how many tokens it read of each prompt; None if it does not tell."""

    runtime: str
    answers: tuple[EngineAnswer, ...]
    prompt_tokens: tuple[int, ...] | None = None
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
                *(_diagnostic(check) for check in failed),
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
        # Only engines that read their weights from it get it.
        "model": str(model) if plan.model_at_run_time else "",
        "engine": str(engine),
        "prompts": [{"tokens": list(p.token_ids), "text": p.text} for p in reference.prompts],
        "new_tokens": reference.new_tokens,
        "top": max(len(position.top) for prompt in reference.prompts for position in prompt.positions),
        "limits": plan.limits.model_dump(),
    }
    try:
        answered = vendor.ask(request, log=log, timeout_s=plan.proof.timeout_s, action=ACTION, report=report)
        answer = RunnerAnswer.model_validate(answered)
    except ToolError as error:
        ran_out = isinstance(error, ToolEndedError) and error.memory
        memory = "end other programs, or build a bundle with a shorter context; " if ran_out else ""
        kind = RunnerStoppedError if ran_out else DeviceError
        raise kind.of(
            f"the engine does not run: {error.diagnostics[0].message}", hint=f"{memory}the whole output is in {log}"
        ) from error
    except ValidationError as error:
        raise DeviceError.of(
            f"the runner's answer cannot be used: {error.errors(include_url=False)[0]['msg']}",
            hint=f"the whole output is in {log}",
        ) from error
    return compare(reference, answer, logits=plan.proof.logits)


def compare(reference: DeviceReference, answer: RunnerAnswer, *, logits: bool) -> EngineProof:
    """The engine's answer against the reference. `logits`: it must have given log probabilities. Raises ProofError."""
    if len(answer.answers) != len(reference.prompts):
        message = f"the engine answered {len(answer.answers)} of {len(reference.prompts)} prompts"
        raise ProofError.of(message, hint=_HINT)
    checks = [*reference.compare(answer.answers)]
    missing = [*answer.not_verified]
    if answer.prompt_tokens is not None:
        checks.insert(0, _read_check(reference, answer.prompt_tokens))
    if not any(a.log_probabilities for a in answer.answers):
        if logits:
            checks.append(_no_logits(len(answer.answers)))
        elif not any(n.what == "logits" for n in missing):
            missing.append(NotVerified(what="logits", why="the runtime gave no log probabilities"))
    return EngineProof(answer.runtime, tuple(checks), tuple(missing))


def _no_logits(prompts: int) -> Check:
    return Check(
        name="device: answers with log probabilities",
        measured=0,
        threshold=prompts,
        relation="==",
        unit="prompts",
        passed=False,
        hint="the engine was built to give logits, and the runtime gave none: its version is another one, or it failed",
    )


def _read_check(reference: DeviceReference, counts: Sequence[int]) -> Check:
    """A runtime that takes text must read as many tokens as were recorded."""
    told = [*counts, *[None] * (len(reference.prompts) - len(counts))]
    pairs = zip(reference.prompts, told, strict=False)
    wrong = [
        f"{p.name}: {'not told' if count is None else count} instead of {len(p.token_ids)}"
        for p, count in pairs
        if count != len(p.token_ids)
    ]
    return Check(
        name="device: prompts read as recorded",
        measured=len(reference.prompts) - len(wrong),
        threshold=len(reference.prompts),
        relation="==",
        unit="prompts",
        passed=not wrong,
        detail="; ".join(wrong),
        hint="the runtime's tokenizer is another one: build the bundle again with this backend's version",
    )


def _diagnostic(check: Check) -> Diagnostic:
    detail = f" ({check.detail})" if check.detail else ""
    return Diagnostic(f"the engine failed its proof: {check.as_text()}{detail}", hint=check.hint)
