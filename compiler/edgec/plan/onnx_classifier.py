"""What an ONNX file of an image classifier will be, from the checkpoint's header."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.errors import InputError
from edgec.formats.onnx.classifier import Classifier
from edgec.formats.onnx.classifier_layout import classifier_graph, classifier_layout
from edgec.formats.onnx.graph_routes import GraphLayout
from edgec.plan.artifact import artifact_name
from edgec.plan.classifier import (
    ClassifierPlan,
    calibration_images,
    classifier_numbers,
    held_out_images,
    image_notes,
    read_planned_classifier,
    summarize_classifier,
)
from edgec.plan.onnx_settings import GRAPH_SCHEMES, refuse_decoder_settings
from edgec.plan.placed import placed_at
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.onnx import OnnxArtifact
from edgec.source.model import CheckpointHeader
from edgec.target.model import Target


@dataclass(frozen=True)
class OnnxClassifierPlan(ClassifierPlan):
    """One ONNX file to be."""

    settings: OnnxArtifact
    layout: GraphLayout

    @property
    def fixed_batch(self) -> int | None:
        """Any number of images at once."""
        return None


def plan_onnx_classifier(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: OnnxArtifact, index: int
) -> OnnxClassifierPlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what cannot be exported or proven."""
    refuse_decoder_settings(loaded, target, artifact, index, GRAPH_SCHEMES)
    with placed_at(loaded, index):
        classifier = read_planned_classifier(loaded, header)
        layout = _layout(classifier, artifact.quantize.scheme)
    calibration = calibration_images(loaded, artifact, index)
    return OnnxClassifierPlan(
        name=artifact_name(artifact),
        summary=summarize_classifier(
            loaded, target, artifact, classifier,
            file=layout.file, output_bytes=layout.size_bytes, held_bytes=layout.size_bytes,
            bytes_by_type=layout.bytes_by_type, notes=_notes(classifier, layout),
        ),
        numbers=classifier_numbers(artifact, calibration),
        classifier=classifier,
        calibration=calibration,
        held_out=held_out_images(loaded, calibration),
        settings=artifact,
        layout=layout,
    )  # fmt: skip


def _notes(classifier: Classifier, layout: GraphLayout) -> tuple[str, ...]:
    tried = f"{len(layout.routes)} routes are tried; the plan's size is that of the largest"
    return (*image_notes(classifier), *([tried] if len(layout.routes) > 1 else []))


def _layout(classifier: Classifier, scheme: str) -> GraphLayout:
    if scheme == "int8" and classifier_graph(classifier).mostly_convolutions:
        raise InputError.of(
            f"`int8` is for matrix products, and most weights of {classifier.architecture} are in convolutions",
            hint="choose `auto` or `int8_static`, which calibrate, or `int8_fine`, which needs no images",
        )
    return classifier_layout(classifier, scheme)
