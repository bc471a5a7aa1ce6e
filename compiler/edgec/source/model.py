"""Nouns of a checkpoint: what is known before any weight is read, and what stands on disk afterwards.

Rule: a `CheckpointHeader` is enough for planning; nothing in it needs the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from edgec.source.onnx_graph import OnnxGraph
from edgec.source.quantization import Quantization


class DType(StrEnum):
    """Element types edgec reads, by their safetensors names: floats, and the integers of quantized weights."""

    F32 = "F32"
    F16 = "F16"
    BF16 = "BF16"
    I32 = "I32"
    I8 = "I8"
    U8 = "U8"

    @property
    def is_float(self) -> bool:
        """Whether values are stored as they are, not as codes."""
        return self in (DType.F32, DType.F16, DType.BF16)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return {DType.F32: 4, DType.I32: 4, DType.I8: 1, DType.U8: 1}.get(self, 2)


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
class GraphFile:
    """A model in an .onnx file `name`, its tensors without their bytes; what is not a graph has none."""

    name: str
    size_bytes: int
    graph: OnnxGraph


@dataclass(frozen=True)
class CheckpointHeader:
    """All of a checkpoint but its weights.

    `config`: config.json. `files`: contents of the small files that exist (tokenizer.json, tokenizer_config.json,
    special_tokens_map.json, generation_config.json, tokenizer.model, modules.json, 1_Pooling/config.json, ...), by
    name. `quantization`: how the weights are quantized already, None for plain ones. `graph`: of a source that is an
    .onnx file, which has none of the others.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    files: Mapping[str, bytes]
    identity: SourceIdentity
    quantization: Quantization | None = None
    graph: GraphFile | None = None

    @property
    def parameters(self) -> int:
        """How many weights the model has."""
        if self.graph is not None:
            return sum(tensor.elements for tensor in self.graph.graph.initializers.values())
        return sum(tensor.elements for tensor in self.tensors.values())


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files stand under `root`."""

    header: CheckpointHeader
    root: Path
