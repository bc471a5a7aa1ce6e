"""Small image classifiers with random weights, as transformers saves them, written without torch."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = Iterator[tuple[str, NDArray[np.generic]]]
LABELS = ("stripes", "disc", "noise", "nothing", "red", "green", "blue", "grey")
# Takes half of the middle out of the logits of `image_folder`'s pictures: they are told apart, and not by a hair.
_RESNET_BIAS = (1.7, -11.1, 11.7, 6.2, -1.9, -0.2, -15.1, 7.8)
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def write_resnet(folder: Path, *, size: int = 64, widths: tuple[int, ...] = (16, 32, 64)) -> Path:
    """A ResNet of basic layers, one a stage."""
    config = {
        "architectures": ["ResNetForImageClassification"], "model_type": "resnet", "num_channels": 3,
        "embedding_size": widths[0], "hidden_sizes": list(widths), "depths": [1] * len(widths), "layer_type": "basic",
        "hidden_act": "relu", "downsample_in_first_stage": False,
    }  # fmt: skip
    processor = {
        "feature_extractor_type": "ConvNextFeatureExtractor", "do_resize": True, "do_normalize": True, "size": size,
        "crop_pct": 0.875, "resample": 3, **_IMAGENET,
    }  # fmt: skip
    return _written(folder, config, processor, dict(_resnet(np.random.default_rng(0), widths)))


def write_vit(folder: Path, *, size: int = 48, width: int = 64, layers: int = 2) -> Path:
    """A vision transformer with patches of 8 pixels."""
    inner, patch = 2 * width, 8
    config = {
        "architectures": ["ViTForImageClassification"], "model_type": "vit", "num_channels": 3, "image_size": size,
        "patch_size": patch, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 4,
        "intermediate_size": inner, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "qkv_bias": True,
    }  # fmt: skip
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": size, "width": size}, "resample": 2}
    tokens = (size // patch) ** 2 + 1
    return _written(
        folder, config, processor, dict(_vit(np.random.default_rng(0), width, layers, patch=patch, tokens=tokens))
    )


def classifier_files(folder: Path) -> dict[str, bytes]:
    """What a hub would have of a checkpoint, by name."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def _written(
    folder: Path, config: dict[str, Any], processor: dict[str, Any], tensors: dict[str, NDArray[np.generic]]
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    names = {str(number): label for number, label in enumerate(LABELS)}
    config |= {"id2label": names, "label2id": {label: int(number) for number, label in names.items()}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    header: dict[str, Any] = {}
    offset = 0
    for name, values in tensors.items():
        kind = {"float32": "F32", "int64": "I64"}[str(values.dtype)]
        header[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    data = b"".join(values.tobytes() for values in tensors.values())
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


def _random(rng: np.random.Generator, *shape: int, spread: float) -> NDArray[np.float32]:
    return (rng.standard_normal(shape, np.float32) * np.float32(spread)).astype(np.float32)


def _convolution(rng: np.random.Generator, name: str, outputs: int, inputs: int, side: int) -> Tensors:
    spread = (2 / (inputs * side * side)) ** 0.5
    yield f"{name}.convolution.weight", _random(rng, outputs, inputs, side, side, spread=spread)
    yield f"{name}.normalization.weight", 1 + _random(rng, outputs, spread=0.2)
    yield f"{name}.normalization.bias", _random(rng, outputs, spread=0.3)
    yield f"{name}.normalization.running_mean", _random(rng, outputs, spread=0.1)
    yield f"{name}.normalization.running_var", 1 + np.abs(_random(rng, outputs, spread=0.3))
    yield f"{name}.normalization.num_batches_tracked", np.array(7, np.int64)


def _resnet(rng: np.random.Generator, widths: tuple[int, ...]) -> Tensors:
    yield from _convolution(rng, "resnet.embedder.embedder", widths[0], 3, 7)
    before = widths[0]
    for stage, width in enumerate(widths):
        layer = f"resnet.encoder.stages.{stage}.layers.0"
        if width != before or stage:
            yield from _convolution(rng, f"{layer}.shortcut", width, before, 1)
        yield from _convolution(rng, f"{layer}.layer.0", width, before, 3)
        yield from _convolution(rng, f"{layer}.layer.1", width, width, 3)
        before = width
    yield from _head(rng, "classifier.1", before, _RESNET_BIAS)


def _head(rng: np.random.Generator, name: str, width: int, bias: Sequence[float] = (0.0,) * len(LABELS)) -> Tensors:
    # Rows that sum to nothing: what all images have in common decides less.
    weight = _random(rng, len(LABELS), width, spread=1.0)
    yield f"{name}.weight", weight - weight.mean(axis=1, keepdims=True)
    yield f"{name}.bias", np.array(bias, np.float32)


def _vit(rng: np.random.Generator, width: int, layers: int, *, patch: int, tokens: int) -> Tensors:
    inner = 2 * width

    def linear(name: str, outputs: int, inputs: int) -> Tensors:
        yield f"{name}.weight", _random(rng, outputs, inputs, spread=1.5 / inputs**0.5)
        yield f"{name}.bias", _random(rng, outputs, spread=0.05)

    def norm(name: str) -> Tensors:
        yield f"{name}.weight", 1 + _random(rng, width, spread=0.1)
        yield f"{name}.bias", _random(rng, width, spread=0.1)

    yield "vit.embeddings.cls_token", _random(rng, 1, 1, width, spread=0.1)
    yield "vit.embeddings.position_embeddings", _random(rng, 1, tokens, width, spread=0.1)
    embedding = "vit.embeddings.patch_embeddings.projection"
    yield f"{embedding}.weight", _random(rng, width, 3, patch, patch, spread=(3 * patch * patch) ** -0.5)
    yield f"{embedding}.bias", _random(rng, width, spread=0.05)
    for number in range(layers):
        layer = f"vit.encoder.layer.{number}"
        for part in ("query", "key", "value"):
            yield from linear(f"{layer}.attention.attention.{part}", width, width)
        yield from linear(f"{layer}.attention.output.dense", width, width)
        yield from linear(f"{layer}.intermediate.dense", inner, width)
        yield from linear(f"{layer}.output.dense", width, inner)
        yield from norm(f"{layer}.layernorm_before")
        yield from norm(f"{layer}.layernorm_after")
    yield from norm("vit.layernorm")
    yield from _head(rng, "classifier", width)
