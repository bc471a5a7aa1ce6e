"""Nouns of a proof: what was measured, what was demanded, and what could not be verified here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Doc(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Doc):
    """One comparison. `relation` says how `measured` must stand to `threshold`; `hint`: what to do when it does not."""

    name: str
    measured: float
    threshold: float
    relation: Literal["<=", ">=", "=="]
    unit: str
    passed: bool
    detail: str = ""
    hint: str | None = None

    def as_text(self) -> str:
        """One line for people: `KL divergence: 0.0036 nats (must be <= 0.02)`."""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.name}: {self.measured:.5g}{unit} (must be {self.relation} {self.threshold:.5g})"


class NotVerified(_Doc):
    """What this build could not prove, and why. `example`: one case of it, over several lines."""

    what: str
    why: str
    example: str = ""


class Sample(_Doc):
    """A greedy continuation, for a person to read."""

    prompt: str
    text: str


class TensorError(_Doc):
    """How far a tensor's quantized values are from its source, relative to the source's root mean square."""

    name: str
    type: str
    elements: int
    bytes: int
    relative_rmse: float


class Attempt(_Doc):
    """A way to make the artifact that was tried. Cosines on the calibration text, or a reranker's score error; None
    where nothing was compared.

    `failed`: why it could not be made; `first`: share of samples with the same first choice among classes;
    `error_share`: the errors' squares as a share of those of the samples' distances from their mean. No times: proofs
    are signed, and two builds must not differ.
    """

    name: str
    title: str
    chosen: bool
    size_bytes: int
    mean_cosine: float | None = None
    min_cosine: float | None = None
    failed: str | None = None
    first: float | None = None
    score_error: float | None = None
    error_share: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_time(cls, data: Any) -> Any:
        # Bundles and results of earlier builds have a measured time.
        return {k: v for k, v in data.items() if k != "time_share"} if isinstance(data, dict) else data


class Proof(_Doc):
    """The result of proving one artifact against its source on its runtime."""

    artifact: str
    runtime: str = Field(description="Name and version of the runtime that was used.")
    in_place_of: str | None = Field(
        None, description="The runtime that will serve the artifact, where it could not run here."
    )
    checks: tuple[Check, ...]
    samples: tuple[Sample, ...] = ()
    tensors: tuple[TensorError, ...] = ()
    not_verified: tuple[NotVerified, ...] = ()
    attempts: tuple[Attempt, ...] = ()

    @property
    def route(self) -> str | None:
        """The route by which the artifact was made, where its scheme has routes."""
        return next((a.name for a in self.attempts if a.chosen), None)

    @property
    def passed(self) -> bool:
        """Whether every check held."""
        return all(c.passed for c in self.checks)
