"""What an ONNX artifact will be, from the checkpoint's header: its encoder, a bound of its size, its fit."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.formats.onnx.encoder import Encoder
from edgec.formats.onnx.layout import OnnxLayout, plan_layout
from edgec.plan.artifact import artifact_name
from edgec.plan.encoder import (
    EncoderPlan,
    calibration_lines,
    numbers_of,
    read_planned_encoder,
    refuse_thresholds,
    summarize,
)
from edgec.plan.onnx_decoder import refuse_decoder_settings
from edgec.plan.placed import placed_at
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.onnx import OnnxArtifact
from edgec.source.model import CheckpointHeader
from edgec.target.model import Target


@dataclass(frozen=True)
class OnnxPlan(EncoderPlan):
    """One ONNX file to be."""

    settings: OnnxArtifact
    layout: OnnxLayout

    @property
    def graph(self) -> OnnxLayout:
        """The float32 graph, of which this layout has the bound too."""
        return self.layout


def plan_onnx(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: OnnxArtifact, index: int
) -> OnnxPlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what cannot be exported or proven."""
    refuse_thresholds(loaded)
    refuse_decoder_settings(loaded, artifact, index)
    with placed_at(loaded, index):
        encoder = read_planned_encoder(loaded, header)
        layout = plan_layout(encoder, artifact.quantize.scheme)
    lines = calibration_lines(loaded, artifact, index)
    return OnnxPlan(
        name=artifact_name(artifact),
        summary=summarize(
            loaded, target, artifact, encoder,
            file=layout.file, output_bytes=layout.size_bytes, held_bytes=layout.size_bytes,
            bytes_by_type=layout.bytes_by_type, notes=_notes(encoder, layout),
        ),
        numbers=numbers_of(artifact, lines),
        settings=artifact,
        encoder=encoder,
        layout=layout,
        calibration_lines=lines,
    )  # fmt: skip


def _notes(encoder: Encoder, layout: OnnxLayout) -> tuple[str, ...]:
    notes = [f"one vector of a text: the {encoder.pooling} over its tokens' outputs, which the graph gives"]
    if encoder.pooling == "cls":
        notes = ["one vector of a text: the output of its first token, which the graph gives with all others"]
    if len(layout.routes) > 1:
        notes.append(f"{len(layout.routes)} routes are tried; the size is that of the largest")
    if encoder.pooling_note is not None:
        notes.append(encoder.pooling_note)
    return tuple(notes)
