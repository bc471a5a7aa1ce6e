"""Nouns of a checkpoint: what is known before any weight is read, and what stands on disk afterwards.

Rule: a `CheckpointHeader` is enough for planning; nothing in it needs the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class DType(StrEnum):
    """Element types edgec compiles from, by their safetensors names."""

    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return 4 if self is DType.F32 else 2


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a checkpoint: row-major `shape`, and where its bytes lie (`offset` from the start of `file`)."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    file: str
    offset: int
    nbytes: int

    @property
    def elements(self) -> int:
        """Number of elements (1 for a scalar)."""
        n = 1
        for d in self.shape:
            n *= d
        return n


@dataclass(frozen=True)
class SourceFile:
    """A file the source consists of. `digest` is `sha256:<hex>`; for hub weights it is the hub's own LFS digest."""

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True)
class SourceIdentity:
    """What the source is, for keys, provenance and people.

    `uri`: `pkg:huggingface/<owner>/<name>@<commit>` or `file:<folder name>`.
    """

    uri: str
    revision: str | None
    licence: str | None
    files: tuple[SourceFile, ...]


@dataclass(frozen=True)
class CheckpointHeader:
    """All of a checkpoint but its weights.

    `config`: config.json. `files`: contents of the small files that exist (tokenizer.json, tokenizer_config.json,
    special_tokens_map.json, generation_config.json, tokenizer.model, modules.json, 1_Pooling/config.json, ...), by
    name.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    files: Mapping[str, bytes]
    identity: SourceIdentity


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files stand under `root`."""

    header: CheckpointHeader
    root: Path
