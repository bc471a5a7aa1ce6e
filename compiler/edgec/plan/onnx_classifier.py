"""What an ONNX file of an image classifier will be, from the checkpoint's header."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.errors import InputError
from edgec.formats.onnx.classifier import Classifier
from edgec.formats.onnx.classifier_layout import plan_float_layout
from edgec.formats.onnx.layout import OnnxLayout
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
from edgec.plan.placed import placed_at
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.onnx import OnnxArtifact
from edgec.source.model import CheckpointHeader
from edgec.target.model import Target


@dataclass(frozen=True)
class OnnxClassifierPlan(ClassifierPlan):
    """One ONNX file to be."""

    settings: OnnxArtifact
    layout: OnnxLayout

    @property
    def fixed_batch(self) -> int | None:
        """Any number of images at once."""
        return None


def plan_onnx_classifier(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: OnnxArtifact, index: int
) -> OnnxClassifierPlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what cannot be exported or proven."""
    with placed_at(loaded, index):
        classifier = read_planned_classifier(loaded, header)
        layout = _layout(classifier, artifact.quantize.scheme)
    calibration = calibration_images(loaded, artifact, index)
    return OnnxClassifierPlan(
        name=artifact_name(artifact),
        summary=summarize_classifier(
            loaded, target, artifact, classifier,
            file=layout.file, output_bytes=layout.size_bytes, held_bytes=layout.size_bytes,
            bytes_by_type=layout.bytes_by_type, notes=image_notes(classifier),
        ),
        numbers=classifier_numbers(artifact, calibration),
        classifier=classifier,
        calibration=calibration,
        held_out=held_out_images(loaded, calibration),
        settings=artifact,
        layout=layout,
    )  # fmt: skip


def _layout(classifier: Classifier, scheme: str) -> OnnxLayout:
    if scheme != "fp32":
        raise InputError.of(
            f"image classifiers are not made in `{scheme}` by this version", hint="choose `scheme: fp32`"
        )
    return plan_float_layout(classifier)
