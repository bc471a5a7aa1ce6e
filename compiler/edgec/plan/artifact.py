"""What every planned artifact offers, whatever its format: what the plan, the bundle and its servers ask of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from edgec.formats.gguf.model import ModelKind
from edgec.plan.model import ArtifactPlan
from edgec.recipe.model import Artifact


def artifact_name(artifact: Artifact) -> str:
    """A checked recipe has one artifact per format and scheme, so that these names differ."""
    return f"{artifact.format}-{artifact.quantize.scheme}"


@dataclass(frozen=True)
class ModelFacts:
    """A model as a manifest and its servers describe it.

    `title`: its name for people; `trained_context`, `vocabulary`: in tokens; `embedding_length`: elements of a hidden
    state; `pooling`: llama.cpp's name, None for decoders; `chat_template`: as the runtime will use it.
    """

    title: str
    architecture: str
    kind: ModelKind | Literal["classifier", "graph"]
    trained_context: int
    embedding_length: int
    vocabulary: int
    pooling: str | None
    chat_template: str | None


@dataclass(frozen=True)
class PlannedArtifact(ABC):
    """An artifact to be. `numbers`: JSON of all in the recipe that decides what it computes, texts by their content."""

    name: str
    summary: ArtifactPlan
    numbers: Mapping[str, Any]

    @property
    @abstractmethod
    def facts(self) -> ModelFacts:
        """The model as its runtime knows it."""

    @property
    @abstractmethod
    def source_bytes(self) -> int:
        """Bytes of the weights before: in the report beside those of the artifact."""

    @property
    def told(self) -> Mapping[str, Any]:
        """What else a program must know of the model, as JSON for the manifest."""
        return {}

    @property
    def format(self) -> str:
        """As recipes spell it."""
        return self.summary.format

    @property
    def scheme(self) -> str:
        """The quantization scheme, as recipes spell it."""
        return self.summary.scheme

    @property
    def compile_action(self) -> str:
        """Name of the action whose result is the artifact's files."""
        return f"compile {self.name}"

    @property
    def prove_action(self) -> str:
        """Name of the action whose result is the artifact's proof."""
        return f"prove {self.name}"
