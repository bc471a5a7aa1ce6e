"""The recorded reference that an engine is compared with: `device/<artifact>.reference.json`.

Rule: greedy continuations of given tokens with the highest log probabilities at each position, from the artifact's own
weights, recorded when the bundle was made.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgec.bundle.strict_json import parse_object, refuse


class _Doc(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class TokenLogprob(_Doc):
    """A token and the logarithm of its probability."""

    token: int = Field(ge=0)
    logprob: float = Field(le=0.001)


class RecordedPrompt(_Doc):
    """A prompt and its greedy continuation. `text`: what the tokens spell, for runtimes that take only text.

    `top`: at each position of the continuation the most probable tokens, most probable first.
    """

    tokens: tuple[int, ...] = Field(min_length=1)
    continuation: tuple[int, ...] = Field(min_length=1)
    top: tuple[tuple[TokenLogprob, ...], ...] = ()
    text: str | None = None

    @model_validator(mode="after")
    def _positions_agree(self) -> RecordedPrompt:
        if self.top and len(self.top) != len(self.continuation):
            raise ValueError("there are not as many log probabilities as tokens")
        return self


class DeviceReference(_Doc):
    """The document `edgec/device-reference/v1`."""

    schema_: Literal["edgec/device-reference/v1"] = Field("edgec/device-reference/v1", alias="schema")
    prompts: tuple[RecordedPrompt, ...] = Field(min_length=1)

    @property
    def new_tokens(self) -> int:
        """The length of the longest continuation."""
        return max(len(prompt.continuation) for prompt in self.prompts)

    @property
    def width(self) -> int:
        """How many tokens there are at a position at most; 0 without log probabilities."""
        return max((len(position) for prompt in self.prompts for position in prompt.top), default=0)


def parse_reference(data: bytes, place: str) -> DeviceReference:
    """The reference in `data`. Raises ProofError naming `place`."""
    try:
        return DeviceReference.model_validate(parse_object(data, place))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise refuse(f"{where}: {first['msg']}", place=place) from None
