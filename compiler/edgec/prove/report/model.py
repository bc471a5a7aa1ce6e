"""What a build report shows: plain data, so that the report depends on no plan and no bundle.

Rule: nothing here changes between two builds of the same inputs (no times, no hosts): the page goes into the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgec.prove.model import NotVerified, Proof


@dataclass(frozen=True)
class ReportMemoryItem:
    """One part of the predicted memory need."""

    name: str
    mib: float
    detail: str


@dataclass(frozen=True)
class ReportMemory:
    """The predicted memory fit. `available_mib` is `total_mib` less `os_reserve_mib`."""

    verdict: Literal["fits", "tight", "no"]
    items: tuple[ReportMemoryItem, ...]
    needed_mib: float
    available_mib: float
    total_mib: float
    os_reserve_mib: float
    context: int
    batch: int
    advice: str | None = None


@dataclass(frozen=True)
class ReportSpeed:
    """Predicted decode speed of one runtime, tokens per second."""

    runtime: str
    low_tok_s: float
    high_tok_s: float
    bytes_per_token: int
    confidence: str
    requires: str | None
    provenance: str
    runtime_title: str = ""

    @property
    def title(self) -> str:
        """The runtime's name for people, or its name in the profile."""
        return self.runtime_title or self.runtime


@dataclass(frozen=True)
class ReportArtifact:
    """One artifact. `output_bytes`: of its files as built; `bytes_by_type`: tensor bytes per tensor type, empty where
    only a bound is known; `bound_bytes`: what the plan took the files to have at most, None where it knew;
    `source_bytes`: the weights before; `is_for_engine`: the device builds an engine of it and proves that.
    """

    name: str
    format: str
    scheme: str
    files: tuple[str, ...]
    output_bytes: int
    bytes_by_type: Mapping[str, int]
    proof: Proof
    memory: ReportMemory | None = None
    speeds: tuple[ReportSpeed, ...] = ()
    source_bytes: int | None = None
    bound_bytes: int | None = None
    is_for_engine: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportFile:
    """One file of the source and its digest."""

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True)
class ReportSource:
    """What the artifacts were made from."""

    uri: str
    revision: str | None
    licence: str | None
    files: tuple[ReportFile, ...] = ()


@dataclass(frozen=True)
class ReportDisk:
    """Disk the device needs for updates that can be rolled back."""

    bundle_mib: float
    copies: int
    needed_mib: float
    free_mib: float | None = None


@dataclass(frozen=True)
class ReportData:
    """All of a build report. `tools`: name and version; `development_key`: None when the key is not known yet."""

    name: str
    version: str
    target: str
    target_title: str
    artifacts: tuple[ReportArtifact, ...]
    source: ReportSource
    tools: tuple[tuple[str, str], ...]
    description: str | None = None
    key_fingerprint: str | None = None
    development_key: bool | None = None
    disk: ReportDisk | None = None
    # What the bundle carries for servers, one line each.
    carried: tuple[str, ...] = ()
    not_verified: tuple[NotVerified, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether every check of every artifact held."""
        return all(a.proof.passed for a in self.artifacts)
