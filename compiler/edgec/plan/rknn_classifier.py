"""What an RKNN model of an image classifier will be, from the checkpoint's header: one image at a time, its size."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.formats.onnx.classifier import Classifier
from edgec.formats.rknn.layout import RknnLayout, plan_layout
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
from edgec.recipe.rknn import RknnArtifact
from edgec.source.model import CheckpointHeader
from edgec.target.model import Target


@dataclass(frozen=True)
class RknnClassifierPlan(ClassifierPlan):
    """One RKNN model to be."""

    settings: RknnArtifact
    layout: RknnLayout

    @property
    def fixed_batch(self) -> int | None:
        """The NPU takes one image."""
        return 1


def plan_rknn_classifier(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: RknnArtifact, index: int
) -> RknnClassifierPlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what cannot be compiled or proven."""
    with placed_at(loaded, index):
        classifier = read_planned_classifier(loaded, header)
    layout = _layout(classifier, artifact.quantize.scheme)
    calibration = calibration_images(loaded, artifact, index)
    return RknnClassifierPlan(
        name=artifact_name(artifact),
        summary=summarize_classifier(
            loaded, target, artifact, classifier,
            file=layout.file, output_bytes=layout.size_bytes, held_bytes=layout.device_bytes,
            bytes_by_type=layout.bytes_by_type, notes=(*image_notes(classifier), *rknn_notes(layout)),
        ),
        numbers={**classifier_numbers(artifact, calibration), "shape": list(classifier.shape)},
        classifier=classifier,
        calibration=calibration,
        held_out=held_out_images(loaded, calibration),
        settings=artifact,
        layout=layout,
    )  # fmt: skip


def rknn_notes(layout: RknnLayout) -> tuple[str, ...]:
    """What is true of every RKNN model that takes arrays."""
    notes = [
        "one sample at a time: the shapes are fixed",
        "not reproducible: rknn-toolkit2 writes other bytes each time; the proof is of the simulator, not the NPU",
    ]
    if len(layout.routes) > 1:
        notes.append(
            f"{len(layout.routes)} routes are tried, the smallest first; the plan's size is that of the largest"
        )
    return tuple(notes)


def _layout(classifier: Classifier, scheme: str) -> RknnLayout:
    weights = classifier.matrices + classifier.vectors
    return plan_layout(embeddings=0, others=weights, layers=classifier.layers, scheme=scheme)
