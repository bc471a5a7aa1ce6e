"""What an image classifier of transformers is, from the checkpoint's small files: its classes, its input, its weights.

Rule: what the export or the preparation of images would get wrong is refused here, before anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgec.errors import InputError
from edgec.formats.image_settings import ImageSettings, preprocessor_settings
from edgec.source.model import CheckpointHeader
from edgec.source.quantization import refuse_quantized

INPUT, OUTPUT = "pixel_values", "logits"
_CONFIG = "config.json"
_LONGEST_LABEL = 200
_HINT = "compare with the config.json of the model's publisher"


@dataclass(frozen=True)
class Classifier:
    """`labels`: of its outputs, in their order; `image`: how an image becomes its input; `matrices`: weights of
    convolutions and products, of the first of which there are `convolutions`; `vectors`: all others; `layers`: tensors
    of `matrices`; `activation`: elements of the largest tensor between layers.
    """

    architecture: str
    labels: tuple[str, ...]
    image: ImageSettings
    matrices: int
    convolutions: int
    vectors: int
    layers: int
    activation: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the input: one image."""
        return (1, 3, self.image.height, self.image.width)

    @property
    def image_bytes(self) -> int:
        """Of one image as numbers."""
        return 4 * 3 * self.image.height * self.image.width


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether config.json names a model that classifies images."""
    return _named(config).endswith("ForImageClassification")


def read_classifier(header: CheckpointHeader) -> Classifier:
    """The classifier of a checkpoint. Raises InputError for a model that this backend does not take."""
    config = header.config
    refuse_quantized(config, header.quantization)
    architecture = _named(config)
    if architecture not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        hint = f"exported are {known}; export another yourself and give its .onnx file"
        raise InputError.of(f"the architecture {architecture!r} is not exported to ONNX", place=_CONFIG, hint=hint)
    if config.get("num_channels", 3) != 3:
        hint = "export it yourself and give its .onnx file"
        raise InputError.of(f"num_channels is {config['num_channels']}, not 3", place=_CONFIG, hint=hint)
    image = preprocessor_settings(header.files)
    _require_size(config, image)
    shapes = [info.shape for info in header.tensors.values()]
    matrices = [info.elements for info in header.tensors.values() if len(info.shape) > 1 and max(info.shape) > 1]
    everything = sum(info.elements for info in header.tensors.values())
    if not shapes or not matrices:
        raise InputError.of("the checkpoint has no matrices", hint="fetch it again", place="model.safetensors")
    return Classifier(
        architecture=architecture,
        labels=_labels(config),
        image=image,
        matrices=sum(matrices),
        convolutions=sum(info.elements for info in header.tensors.values() if len(info.shape) == 4),
        vectors=everything - sum(matrices),
        layers=len(matrices),
        activation=_ACTIVATIONS[architecture](config, image),
    )


def _named(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _require_size(config: Mapping[str, Any], image: ImageSettings) -> None:
    """Transformers with positions take one size only; convolutions take any."""
    wanted = config.get("image_size")
    if config.get("patch_size") is None or "hidden_sizes" in config or wanted is None:
        return
    height, width = wanted if isinstance(wanted, list) and len(wanted) == 2 else (wanted, wanted)
    if (image.height, image.width) != (height, width):
        raise InputError.of(
            f"the model takes {height} x {width} pixels, and preprocessor_config.json makes {image.height} x "
            f"{image.width}",
            hint=_HINT,
            place=_CONFIG,
        )


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """One for each output; transformers calls them LABEL_0, ... where nobody did."""
    given = config.get("id2label")
    if given is None:
        count = config.get("num_labels", 2)
        return tuple(f"LABEL_{number}" for number in range(_count(count)))
    if not isinstance(given, dict) or set(given) != {str(number) for number in range(len(given))} or not given:
        raise InputError.of("id2label does not name the outputs 0, 1, ... by their numbers", place=_CONFIG, hint=_HINT)
    return tuple(str(given[str(number)])[:_LONGEST_LABEL] for number in range(len(given)))


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 1 << 20:
        raise InputError.of(f"num_labels is {value!r}", place=_CONFIG, hint=_HINT)
    return value


def _integer(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError.of(f"{key} is {value!r}, but must be a positive integer", place=_CONFIG, hint=_HINT)
    return value


def _of_resnet(config: Mapping[str, Any], image: ImageSettings) -> int:
    """After the first convolution, a half of each side is left; bottlenecks widen a quarter of it."""
    stem = _integer(config, "embedding_size", 64) * (image.height // 2) * (image.width // 2)
    sizes = config.get("hidden_sizes") or [256]
    return max(stem, int(sizes[0]) * (image.height // 4) * (image.width // 4))


def _of_vit(config: Mapping[str, Any], image: ImageSettings) -> int:
    """Scores of all tokens with all others, or the inner layer of a feed-forward."""
    patch = _integer(config, "patch_size", 16)
    tokens = (image.height // patch) * (image.width // patch) + 2
    scores = _integer(config, "num_attention_heads", 12) * tokens * tokens
    return max(scores, tokens * _integer(config, "intermediate_size", 3072))


def _of_mobilenet(config: Mapping[str, Any], image: ImageSettings) -> int:
    """The first widened block, at a half of each side: 16 channels times the width and the expansion."""
    width = 16 * float(config.get("depth_multiplier") or 1.0) * float(config.get("expand_ratio") or 6)
    return int(max(width, 32) * (image.height // 2) * (image.width // 2))


def _of_convnext(config: Mapping[str, Any], image: ImageSettings) -> int:
    """The inner layer of the first stage: four times its channels, at a quarter of each side."""
    sizes = config.get("hidden_sizes") or [96]
    return 4 * int(sizes[0]) * (image.height // 4) * (image.width // 4)


_ACTIVATIONS: Mapping[str, Callable[[Mapping[str, Any], ImageSettings], int]] = {
    "ResNetForImageClassification": _of_resnet,
    "ViTForImageClassification": _of_vit,
    "DeiTForImageClassification": _of_vit,
    "ConvNextForImageClassification": _of_convnext,
    "MobileNetV2ForImageClassification": _of_mobilenet,
}
CLASSIFIERS = tuple(_ACTIVATIONS)
