"""Nouns of a plan: actions with their reasons and costs, the memory fit, the speed prediction.

Rule: a plan is data; making it has no effect but reads, and running it needs nothing that is not in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Cost:
    """What an action needs of this machine. Estimates, except `output_bytes` of a compile, which is exact."""

    output_bytes: int = 0
    scratch_bytes: int = 0
    memory_mib: int = 0
    download_bytes: int = 0


@dataclass(frozen=True)
class Action:
    """One step. `key` names its result in the store; `needs` are the names of actions that must have run before.

    `settings` is everything the result depends on besides its inputs; it is hashed into `key`.
    """

    name: str
    kind: Literal["fetch", "reference", "imatrix", "compile", "prove", "bundle"]
    key: str
    needs: tuple[str, ...]
    settings: dict[str, Any]
    reason: str
    cached: bool
    cost: Cost


@dataclass(frozen=True)
class MemoryItem:
    """One part of the device's memory need."""

    name: str
    mib: float
    detail: str


@dataclass(frozen=True)
class Fit:
    """Whether the model fits the device's memory. `advice` names the number to change when it does not."""

    verdict: Literal["fits", "tight", "no"]
    items: tuple[MemoryItem, ...]
    needed_mib: float
    available_mib: float
    advice: str | None


@dataclass(frozen=True)
class Speed:
    """Predicted decode speed, as a range in tokens per second."""

    runtime: str
    low_tok_s: float
    high_tok_s: float
    bytes_per_token: int
    confidence: str
    requires: str | None
    provenance: str


@dataclass(frozen=True)
class ArtifactPlan:
    """What one artifact will be. `bytes_by_type`: tensor bytes per tensor type; `output_bytes` is exact."""

    name: str
    format: str
    scheme: str
    output_bytes: int
    files: tuple[str, ...]
    bytes_by_type: dict[str, int]
    fit: Fit
    speeds: tuple[Speed, ...]
    notes: tuple[str, ...] = field(default=())
