"""What every planned image classifier has in common, whatever its format: the model, its images, its fit.

Rule: images that calibrate prove nothing: they are left out of those that prove, by their content.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgec.errors import Diagnostic, InputError
from edgec.formats.images import ImageSet, image_set
from edgec.formats.onnx.classifier import INPUT, OUTPUT, Classifier, read_classifier
from edgec.formats.onnx.classifier_layout import float_layout
from edgec.formats.onnx.graph_routes import GraphLayout
from edgec.plan.artifact import ModelFacts, PlannedArtifact, artifact_name
from edgec.plan.encoder import EncoderArtifact, runtime_of
from edgec.plan.fit import predict_fit
from edgec.plan.model import ArtifactPlan
from edgec.plan.model_shape import TransformerShape
from edgec.plan.own_thresholds import refuse_foreign_thresholds
from edgec.recipe.load import LoadedRecipe
from edgec.source.model import CheckpointHeader
from edgec.target.model import Target

# Fewer images cannot both calibrate and judge; fewer cannot prove.
_MIN_CALIBRATION, _MIN_PROOF = 8, 8
_MAX_PROOF = 64
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class ClassifierPlan(PlannedArtifact):
    """A classifier to be. `calibration`: images that routes are calibrated and judged on; `held_out`: that prove."""

    classifier: Classifier
    calibration: ImageSet
    held_out: ImageSet

    @property
    @abstractmethod
    def fixed_batch(self) -> int | None:
        """Images of one run, where the file takes no other number."""

    @property
    def graph(self) -> GraphLayout:
        """The float32 graph that it is made of."""
        return float_layout(self.classifier)

    @property
    def source_bytes(self) -> int:
        """Bytes of the weights in float32."""
        return self.graph.float_bytes

    @property
    def facts(self) -> ModelFacts:
        """What config.json says of the model."""
        return ModelFacts(
            title="",
            architecture=self.classifier.architecture,
            kind="classifier",
            trained_context=1,
            embedding_length=len(self.classifier.labels),
            vocabulary=len(self.classifier.labels),
            pooling=None,
            chat_template=None,
        )

    @property
    def told(self) -> Mapping[str, Any]:
        """How an image becomes the input, and what the outputs mean."""
        return {
            "labels": list(self.classifier.labels),
            "input": {"name": INPUT, "shape": [self.fixed_batch, *self.classifier.shape[1:]]},
            "output": {"name": OUTPUT, "shape": [self.fixed_batch, len(self.classifier.labels)]},
            "image": asdict(self.classifier.image),
        }


def read_planned_classifier(loaded: LoadedRecipe, header: CheckpointHeader) -> Classifier:
    """The classifier. Raises InputError for what cannot be exported, and for what the recipe says of other models."""
    refuse_foreign_thresholds(loaded, "classifier", str(next(iter(header.config.get("architectures") or ()), "it")))
    if loaded.recipe.context is not None:
        message = "an image classifier has no context"
        raise InputError(Diagnostic(message, "remove `context`", loaded.span("context")))
    return read_classifier(header)


def calibration_images(loaded: LoadedRecipe, artifact: EncoderArtifact, index: int) -> ImageSet:
    """The images that are run, evenly over the folder. Raises InputError, at the recipe's line."""
    calibration = artifact.quantize.calibration
    if calibration is None:
        return ImageSet()
    at = ("artifacts", index, "quantize", "calibration")
    images = _images(loaded, calibration, at, "calibration images")
    if len(images.paths) < _MIN_CALIBRATION:
        raise _too_few(loaded, at, images, f"half of them calibrate and half judge, and {_MIN_CALIBRATION} are needed")
    return images.evenly(artifact.quantize.max_lines)


def held_out_images(loaded: LoadedRecipe, calibrated: ImageSet) -> ImageSet:
    """The images that prove. Raises InputError, at the recipe's line, without a folder or with too few images."""
    at = ("prove", "held_out")
    named = loaded.recipe.prove.held_out
    if named is None:
        span = loaded.span(*at) or loaded.span("prove") or loaded.span("artifacts")
        hint = "add `prove: {held_out: FOLDER}` with images like the model's use that it is not calibrated on"
        raise InputError(Diagnostic("the proof of an image classifier needs images", hint, span))
    images = _images(loaded, named, at, "held-out images").without(calibrated)
    if len(images.paths) < _MIN_PROOF:
        raise _too_few(loaded, at, images, f"none of them calibrated on; the proof needs {_MIN_PROOF}")
    return images.evenly(_MAX_PROOF)


def _images(loaded: LoadedRecipe, relative: str, at: tuple[str | int, ...], what: str) -> ImageSet:
    folder = loaded.resolve(relative)
    if folder.is_file():
        message = f"the {what} must be a folder, and this is a file: the model classifies images"
        raise InputError(Diagnostic(message, "name a folder of images", loaded.span(*at)))
    return image_set(folder)


def _too_few(loaded: LoadedRecipe, at: tuple[str | int, ...], images: ImageSet, why: str) -> InputError:
    message = f"the folder has {len(images.paths)} different images; {why}"
    return InputError(Diagnostic(message, "add images like the model's use", loaded.span(*at)))


def summarize_classifier(
    loaded: LoadedRecipe,
    target: Target,
    artifact: EncoderArtifact,
    classifier: Classifier,
    *,
    file: str,
    output_bytes: int,
    held_bytes: int,
    bytes_by_type: dict[str, int],
    notes: tuple[str, ...],
) -> ArtifactPlan:
    """The plan's lines of an artifact. `held_bytes`: of its weights as the runtime holds them."""
    # One row of five of the largest tensors between layers: inputs and outputs of a layer, its copies, what is kept.
    shape = TransformerShape(1, 1, 1, 1, classifier.activation, 0, 0)
    return ArtifactPlan(
        name=artifact_name(artifact),
        format=artifact.format,
        scheme=artifact.quantize.scheme,
        context=0,
        output_bytes=output_bytes,
        files=(file,),
        bytes_by_type=bytes_by_type,
        fit=predict_fit(
            target,
            runtime_of(target, artifact),
            shape=shape,
            weights_bytes=held_bytes,
            bytes_by_type=bytes_by_type,
            largest_tensor_bytes=classifier.matrices * _FLOAT_BYTES // classifier.layers,
            context=1,
            batch=loaded.recipe.batch,
            kv_cache=False,
            can_shard=False,
        ),
        speeds=(),
        notes=notes,
        is_exact=False,
    )


def classifier_numbers(artifact: EncoderArtifact, images: ImageSet) -> dict[str, Any]:
    """All in the recipe that decides what the artifact computes, its images by their content."""
    data = artifact.model_dump(mode="json")
    if images.paths:
        data["quantize"]["calibration"] = images.digest
    return data


def image_notes(classifier: Classifier) -> tuple[str, ...]:
    """What a program must do to an image, for people."""
    image = classifier.image
    how = {
        "stretch": f"stretched to {_size(image.resized or (image.height, image.width))}",
        "crop": f"its shortest side made {image.edge} pixels",
        "letterbox": "fitted in whole",
        "none": "not resized",
    }[image.mode]
    size = (image.height, image.width)
    kept = "" if image.mode == "stretch" and image.resized in {None, size} else f", its middle {_size(size)} kept"
    prepared = f"an image is {how} ({image.resample}){kept}, as preprocessor_config.json says"
    return (f"{len(classifier.labels)} classes; {prepared}",)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"
