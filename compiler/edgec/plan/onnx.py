"""What an ONNX artifact will be, from the checkpoint's header: its encoder, a bound of its size, its fit."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.errors import Diagnostic, InputError
from edgec.formats.onnx.encoder import Encoder
from edgec.formats.onnx.families import NOMIC
from edgec.formats.onnx.layout import OnnxLayout, plan_layout
from edgec.formats.onnx.nomic_bert import tensor_names
from edgec.plan.artifact import artifact_name
from edgec.plan.encoder import (
    EncoderPlan,
    calibration_lines,
    numbers_of,
    read_planned_encoder,
    summarize,
)
from edgec.plan.onnx_settings import ENCODER_SCHEMES, refuse_decoder_settings
from edgec.plan.own_thresholds import refuse_foreign_thresholds
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
    refuse_decoder_settings(loaded, target, artifact, index, ENCODER_SCHEMES)
    with placed_at(loaded, index):
        encoder = read_planned_encoder(loaded, header)
        if encoder.family == NOMIC:
            tensor_names(encoder, header.tensors)
    refuse_foreign_thresholds(loaded, encoder.kind, encoder.architecture)
    layout = plan_layout(encoder, artifact.quantize.scheme, for_browser=target.browser is not None)
    if layout.beside and target.browser is not None:
        _refuse_two_files(loaded, target, layout, index)
    lines = calibration_lines(loaded, artifact, index)
    return OnnxPlan(
        name=artifact_name(artifact),
        summary=summarize(
            loaded, target, artifact, encoder,
            files=layout.files, output_bytes=layout.size_bytes, held_bytes=layout.size_bytes,
            bytes_by_type=layout.bytes_by_type, notes=_notes(encoder, layout),
        ),
        numbers=numbers_of(artifact, lines),
        settings=artifact,
        encoder=encoder,
        layout=layout,
        calibration_lines=lines,
    )  # fmt: skip


def _refuse_two_files(loaded: LoadedRecipe, target: Target, layout: OnnxLayout, index: int) -> None:
    size = layout.size_bytes / 2**20
    raise InputError(
        Diagnostic(
            f"the model may take {size:.0f} MiB, more than one ONNX file holds, and {target.title} loads one file",
            "choose a scheme of fewer bits, or a smaller model",
            loaded.span("artifacts", index, "quantize", "scheme") or loaded.span("artifacts", index),
        )
    )


def _notes(encoder: Encoder, layout: OnnxLayout) -> tuple[str, ...]:
    if encoder.kind == "reranker":
        notes = ["one score of a query and a document, which go in as a pair: the graph's only output, no sigmoid"]
    elif encoder.pooling == "cls":
        notes = ["one vector of a text: the output of its first token, which the graph gives with all others"]
    else:
        notes = [f"one vector of a text: the {encoder.pooling} over its tokens' outputs, which the graph gives"]
    if len(layout.routes) > 1:
        notes.append(f"{len(layout.routes)} routes are tried; the plan's size is that of the largest")
    if layout.beside:
        notes.append("the weights lie in a file beside the graph, which must stay in its folder: one file holds 2 GiB")
    if encoder.pooling_note is not None:
        notes.append(encoder.pooling_note)
    return tuple(notes)
