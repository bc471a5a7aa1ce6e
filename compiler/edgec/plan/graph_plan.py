"""What every artifact made of a user's own graph has in common, whatever its format: the graph, inputs, samples.

Rule: samples are taken evenly from all there are, and by number, so that a plan names them without reading them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from edgec.formats.onnx.graph import UserGraph
from edgec.formats.samples import SampleInput, Samples, evenly
from edgec.plan.artifact import ModelFacts, PlannedArtifact
from edgec.recipe.onnx import OnnxArtifact
from edgec.recipe.rknn import RknnArtifact

MAX_HELD_OUT = 64


@dataclass(frozen=True)
class GraphPlan(PlannedArtifact):
    """An artifact of a user's graph. `shapes`: what the recipe fixes, by input; samples are None where none are named.

    `calibration`, `held_out`: all samples there are; which are taken, the indices say.
    """

    settings: OnnxArtifact | RknnArtifact
    graph: UserGraph
    inputs: tuple[SampleInput, ...]
    shapes: Mapping[str, tuple[int, ...]]
    calibration: Samples | None
    held_out: Samples | None

    @property
    @abstractmethod
    def quantizes(self) -> bool:
        """Whether tools that need a recent opset change the graph."""

    @property
    def facts(self) -> ModelFacts:
        """A graph has no context, no vocabulary and no pooling."""
        return ModelFacts(
            title="", architecture="onnx", kind="graph", trained_context=0, embedding_length=0, vocabulary=0,
            pooling=None, chat_template=None,
        )  # fmt: skip

    @property
    def source_bytes(self) -> int:
        """Bytes of all tensors of the user's file."""
        return self.graph.float_bytes

    @property
    def calibration_indices(self) -> tuple[int, ...]:
        """Which calibration samples are run."""
        return () if self.calibration is None else evenly(len(self.calibration), self.settings.quantize.max_lines)

    @property
    def held_out_indices(self) -> tuple[int, ...]:
        """Which samples prove."""
        return () if self.held_out is None else evenly(len(self.held_out), MAX_HELD_OUT)
