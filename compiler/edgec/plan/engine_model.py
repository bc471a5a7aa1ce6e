"""Nouns of an artifact from which a device builds an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgec.bundle.finalize_plan import FinalizePlan
from edgec.formats.edgellm.layout import EdgeLlmLayout
from edgec.formats.trtllm.layout import TrtLlmLayout
from edgec.plan.artifact import ModelFacts, PlannedArtifact
from edgec.quantize.architecture import Decoder
from edgec.quantize.layout import QuantizedLayout
from edgec.quantize.settings import QuantizeSettings
from edgec.recipe.engine import EdgeLlmArtifact, TrtLlmArtifact
from edgec.source.model import CheckpointHeader

EngineArtifact = EdgeLlmArtifact | TrtLlmArtifact
_HALF_BYTES = 2


@dataclass(frozen=True)
class EngineLimits:
    """What an engine is built for: sequences at once, tokens of a prompt, of an answer, and of a whole sequence.

    `kv_cache_tokens`: of all sequences together, where that is less than every sequence of its whole length.
    """

    batch: int
    input_tokens: int
    output_tokens: int
    context: int
    kv_cache_tokens: int | None = None


@dataclass(frozen=True)
class PlannedQuantization:
    """Weights that are quantized first. `tool`: `edgec`, or the toolchain `modelopt`; `calibration`: as the recipe
    names it, None where the method looks at no text; `header`: of the checkpoint to be, as edgec's own tool makes it.
    """

    tool: str
    settings: QuantizeSettings
    layout: QuantizedLayout
    calibration: str | None
    header: CheckpointHeader

    @property
    def action(self) -> str:
        """Name of the action that makes them; artifacts that need the same weights share it."""
        return f"quantize-{self.settings.method}-{self.layout.digest[7:13]}"


@dataclass(frozen=True)
class BackendPlan:
    """A vendor's format, planned. `version`: of the vendor's tool, which the device must have to the letter.

    `engine_bytes`: weights as the engine holds them; `bytes_by_type`: of the files, per element type; `memory_mib`,
    `scratch_bytes`: what making the files needs; `toolchains`: which ones make them.
    """

    layout: EdgeLlmLayout | TrtLlmLayout
    version: str
    files: tuple[str, ...]
    output_bytes: int
    is_exact: bool
    engine_bytes: int
    bytes_by_type: Mapping[str, int]
    memory_mib: int
    scratch_bytes: int
    toolchains: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class EnginePlan(PlannedArtifact):
    """An artifact for TensorRT. `quantized`: None where the source's weights are taken as they are; `measures_kv`: the
    ranges of K and V are measured first; `finalize`: what the device is told; `architecture`: config.json's name of it;
    `parameters`: weights of the source.
    """

    settings: EngineArtifact
    decoder: Decoder
    backend: BackendPlan
    quantized: PlannedQuantization | None
    measures_kv: bool
    limits: EngineLimits
    finalize: FinalizePlan
    template: str | None
    architecture: str
    parameters: int

    @property
    def source_bytes(self) -> int:
        """Bytes of the weights in 16 bits."""
        return self.parameters * _HALF_BYTES

    @property
    def ranges_action(self) -> str:
        """Name of the action that measures the ranges of K and V."""
        return f"ranges {self.name}"

    @property
    def facts(self) -> ModelFacts:
        """What config.json says of the model."""
        return ModelFacts(
            title="",
            architecture=self.architecture,
            kind="decoder",
            trained_context=self.decoder.context,
            embedding_length=self.decoder.width,
            vocabulary=self.decoder.vocabulary,
            pooling=None,
            chat_template=self.template,
        )
