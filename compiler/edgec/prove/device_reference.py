"""What a quantized model answers in torch, recorded at the build: what an engine's answers on the device are held to.

Rule: light, for the device: pydantic and nothing that computes. After the first token that differs, the two no longer
answer the same text: the rest of that prompt counts as missed. A difference between tokens that the reference itself
finds about equally likely is rounding and counts as agreement; what comes after it is not compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgec.errors import InputError
from edgec.prove.model import Check

# Two tokens closer than this in the reference are a tie. docs/proof.md says what float16 does to the gap.
TIE_MARGIN_NATS = 0.1
# Share of tokens that must agree: one prompt of nine may be lost at its first token, two may not.
MIN_AGREEMENT = 0.85
# Mean distance of log probabilities, over the likely tokens, in nats.
MAX_LOGPROB_ERROR = 0.1
# Tokens less likely than this are not compared by log probability: their own error is large and shows nothing.
_LIKELY = math.log(0.001)
# The least log probability that a token which the engine does not list is taken to have.
_FLOOR_NATS = -20.0
_OTHER_TOKENS = (
    "the engine does not compute what the proven checkpoint computes: build it again from the bundle's files; if it "
    "misses again, report the runtime's version with both answers"
)


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Position(_Doc):
    """One generated token. `top`: (token id, log probability in nats), most likely first; the first one was taken.

    `text`: the whole answer up to this token; `tie_texts`: the same with each token that is a tie in its place. Both
    without special tokens; None where the tokenizer cannot write text.
    """

    top: tuple[tuple[int, float], ...] = Field(min_length=1)
    text: str | None = None
    tie_texts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if any(a[1] < b[1] for a, b in pairwise(self.top)):
            raise ValueError("`top` must go from the most likely token down")
        return self

    def gap(self, token: int) -> float:
        """How much less likely than the best this token is, in nats; infinite beyond `top`."""
        return next((self.top[0][1] - value for i, value in self.top if i == token), math.inf)


class Prompt(_Doc):
    """A prompt and its greedy continuation. `token_ids` are those of `text`, special tokens parsed.

    `adds_special`: the tokenizer adds bos to this text; `chat`: the user's turn that `text` was made of with the chat
    template.
    """

    name: str
    text: str
    token_ids: tuple[int, ...] = Field(min_length=1)
    adds_special: bool
    chat: str | None = None
    positions: tuple[Position, ...] = Field(min_length=1)


class EngineAnswer(_Doc):
    """What an engine wrote after one prompt, greedily: token ids, or only text where the runtime gives no ids.

    `log_probabilities`: per token, of as many token ids as the runtime tells; None: not a finite number.
    """

    token_ids: tuple[int, ...] | None = None
    text: str | None = None
    log_probabilities: tuple[dict[int, float | None], ...] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.token_ids is None and self.text is None:
            raise ValueError("an answer has token_ids or text")
        return self


@dataclass(frozen=True)
class _Agreement:
    """Of one prompt: tokens that count, and those that agree; `difference` says where they ceased to.

    `same`: positions at which both had the same text before them.
    """

    counted: int
    agreeing: int
    same: int
    difference: str = ""


class DeviceReference(_Doc):
    """The document. `end_token_ids`: tokens at which a runtime stops and which it may leave out."""

    schema_: Literal["edgec/device-reference/v1"] = Field("edgec/device-reference/v1", alias="schema")
    artifact: str
    framework: str = Field(description="What made the answers: torch and transformers with versions.")
    tokenizer_digest: str
    new_tokens: int = Field(ge=1)
    new_tokens_why: str
    end_token_ids: tuple[int, ...]
    tie_margin_nats: float = Field(gt=0)
    min_agreement: float = Field(ge=0, le=1)
    max_logprob_error: float = Field(gt=0)
    prompts: tuple[Prompt, ...] = Field(min_length=1)

    def compare(self, answers: Sequence[EngineAnswer]) -> tuple[Check, ...]:
        """The checks of an engine that was given every prompt, in this order, and asked for `new_tokens` tokens."""
        if len(answers) != len(self.prompts):
            raise ValueError(f"{len(answers)} answers to {len(self.prompts)} prompts")
        counts = [self._agreement(p, a) for p, a in zip(self.prompts, answers, strict=True)]
        checks = [self._answered(answers), self._agreeing(counts)]
        if any(a.log_probabilities for a in answers):
            checks.append(self._logprobs(answers, counts))
        return tuple(checks)

    def _answered(self, answers: Sequence[EngineAnswer]) -> Check:
        pairs = zip(self.prompts, answers, strict=True)
        empty = [p.name for p, a in pairs if not (a.token_ids or a.text) and not self._ends_at(p, 0)]
        return Check(
            name="device: prompts answered",
            measured=len(answers) - len(empty),
            threshold=len(answers),
            relation="==",
            unit="prompts",
            passed=not empty,
            detail="without a token: " + ", ".join(empty) if empty else "",
            hint="look into the runtime's log: it may have refused the prompt",
        )

    def _agreeing(self, counts: Sequence[_Agreement]) -> Check:
        counted, agreeing = sum(c.counted for c in counts), sum(c.agreeing for c in counts)
        share = agreeing / counted if counted else 0.0
        wrong = [f"{p.name}: {c.difference}" for p, c in zip(self.prompts, counts, strict=True) if c.difference]
        return Check(
            name="device: greedy tokens",
            measured=100 * share,
            threshold=100 * self.min_agreement,
            relation=">=",
            unit=f"% of {counted} tokens; those after a prompt's first difference count as missed",
            passed=share >= self.min_agreement,
            detail="; ".join(wrong),
            hint=_OTHER_TOKENS,
        )

    def _logprobs(self, answers: Sequence[EngineAnswer], counts: Sequence[_Agreement]) -> Check:
        errors, missing = [], 0
        for prompt, answer, count in zip(self.prompts, answers, counts, strict=True):
            listed = answer.log_probabilities or ()
            missing += max(0, count.same - len(listed))
            for position, found in zip(prompt.positions[: count.same], listed, strict=False):
                errors += [
                    error for token, value in position.top if (error := _distance(token, value, found)) is not None
                ]
        wrong = sum(not math.isfinite(error) for error in errors)
        mean = sum(errors) / len(errors) if errors and not wrong and not missing else math.inf
        details = [f"mean distance of {len(errors)} likely tokens"]
        if wrong:
            details.append(f"{wrong} are not finite numbers")
        if missing:
            details.append(f"{missing} tokens came without any")
        return Check(
            name="device: log probabilities",
            # JSON, and so a report, has no infinity.
            measured=mean if math.isfinite(mean) else 1e9,
            threshold=self.max_logprob_error,
            relation="<=",
            unit="nats",
            passed=mean <= self.max_logprob_error,
            detail="; ".join(details),
            hint=_OTHER_TOKENS,
        )

    def _agreement(self, prompt: Prompt, answer: EngineAnswer) -> _Agreement:
        if answer.token_ids is None:
            return self._text_agreement(prompt, answer.text or "")
        total = len(prompt.positions)
        for index, position in enumerate(prompt.positions):
            if index >= len(answer.token_ids):
                if self._ends_at(prompt, index):
                    return _Agreement(index + 1, index + 1, index)
                return _Agreement(total, index, index, f"no token {index}")
            token = answer.token_ids[index]
            if token != position.top[0][0]:
                gap = position.gap(token)
                if gap < self.tie_margin_nats:
                    return _Agreement(index + 1, index + 1, index + 1)
                likely = f"{gap:.3g} nats less likely" if math.isfinite(gap) else "far less likely"
                difference = f"token {index} is {token}, {likely} than {position.top[0][0]}"
                return _Agreement(total, index, index + 1, difference)
        return _Agreement(total, total, total)

    def _text_agreement(self, prompt: Prompt, text: str) -> _Agreement:
        """By text: what the engine wrote must begin with the answer so far."""
        found, total = text.lstrip(), len(prompt.positions)
        for index, position in enumerate(prompt.positions):
            if position.text is None or found.startswith(_beginning(position.text)):
                continue
            if any(found.startswith(_beginning(tie)) for tie in position.tie_texts):
                return _Agreement(index + 1, index + 1, index + 1)
            return _Agreement(total, index, index + 1, f"the text differs at token {index}: {found[:60]!r}")
        return _Agreement(total, total, total)

    def _ends_at(self, prompt: Prompt, index: int) -> bool:
        """Whether an engine may stop before this position: an end token is (about) the most likely there."""
        return any(prompt.positions[index].gap(token) < self.tie_margin_nats for token in self.end_token_ids)


def _distance(token: int, value: float, found: Mapping[int, float | None]) -> float | None:
    """How far the engine's log probability of a likely token is from `value`; None: too unlikely to compare.

    Of a token that the engine does not list only the most that it can have is known: no more than each listed one, and
    than what all of them leave. Then it is how far `value` is above that. NaN when the engine's numbers are none.
    """
    if value < _LIKELY:
        return None
    if token in found:
        known = found[token]
        return math.nan if known is None else abs(known - value)
    listed = [x for x in found.values() if x is not None and math.isfinite(x)]
    if len(listed) < len(found):
        return math.nan
    left = 1 - sum(math.exp(x) for x in listed)
    most = min([*listed, math.log(left) if left > 0 else _FLOOR_NATS])
    return max(0.0, value - max(most, _FLOOR_NATS))


def _beginning(text: str) -> str:
    """A text whose last character may be cut inside its bytes; runtimes differ in the white space before it."""
    return text.rstrip("\N{REPLACEMENT CHARACTER}").lstrip()


def read_device_reference(path: Path) -> DeviceReference:
    """The document in a file. Raises InputError."""
    try:
        return DeviceReference.model_validate_json(path.read_bytes())
    except OSError as error:
        hint = "unpack the bundle again"
        raise InputError.of(f"cannot be read: {error.strerror}", place=str(path), hint=hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = f"{path}: {'.'.join(map(str, first['loc']))}"
        hint = "it must be a document of the schema edgec/device-reference/v1, as edgec writes it"
        raise InputError.of(first["msg"], place=place, hint=hint) from error
