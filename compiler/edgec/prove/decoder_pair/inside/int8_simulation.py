"""What int8 inputs of linears and an int8 KV cache do to the numbers, in float32: `edgec-activations.json`.

Runs in the toolchain. Rule: values are rounded to the nearest step, ties to even, and clamped to [-128, 127], as
TensorRT's quantize layer does; the scale is one step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from checkpoint_folder import CheckpointFolder, RefusedError
from torch import nn
from transformers import DynamicCache

_FILE = "edgec-activations.json"


@dataclass(frozen=True)
class Int8Input:
    """Static quantization of one linear's input. `pre_scale`: per input column, multiplied before the rounding.

    `scale` None: the input is multiplied and not rounded.
    """

    scale: float | None
    pre_scale: torch.Tensor | None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The input as the kernel sees it."""
        scaled = x if self.pre_scale is None else x * self.pre_scale
        return scaled if self.scale is None else rounded(scaled, self.scale)


@dataclass(frozen=True)
class Activations:
    """What is quantized besides weights. `kv_scales`: layer -> (of keys, of values); empty without an int8 cache."""

    inputs: Mapping[str, Int8Input]
    kv_scales: Mapping[int, tuple[float, float]]

    def attach(self, name: str, linear: nn.Module) -> bool:
        """Lets this linear quantize its input; whether it has to."""
        quantize = self.inputs.get(name)
        if quantize is None:
            return False
        linear.register_forward_pre_hook(lambda _, args: (quantize(args[0]), *args[1:]))
        return True

    def cache(self) -> Int8Cache | None:
        """A cache for one forward pass; None when keys and values stay as they are."""
        return Int8Cache(self.kv_scales) if self.kv_scales else None


class Int8Cache(DynamicCache):
    """Gives keys and values back as an int8 cache would, and keeps none: every pass has all of its tokens."""

    def __init__(self, scales: Mapping[int, tuple[float, float]]) -> None:
        super().__init__()
        self._scales = scales

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by the attention after the rotary embedding."""
        key_scale, value_scale = self._scales[layer_idx]
        return rounded(key_states, key_scale), rounded(value_states, value_scale)


def rounded(x: torch.Tensor, scale: float) -> torch.Tensor:
    """`x` in int8 steps of `scale`, back in float32."""
    return (x / scale).round().clamp(-128, 127) * scale


def read_activations(folder: CheckpointFolder, n_layers: int) -> tuple[Activations, frozenset[str]]:
    """What the folder's file says, and the names of the tensors it uses; nothing without the file."""
    path: Path = folder.folder / _FILE
    if not path.is_file():
        return Activations({}, {}), frozenset()
    document = json.loads(path.read_bytes())
    inputs, used = {}, set()
    for linear, entry in document.get("linears", {}).items():
        name = entry.get("pre_scale_tensor")
        if name is not None:
            used.add(name)
        scale = entry["input_scale"]
        step = None if scale is None else _scale(folder, linear, scale)
        inputs[linear] = Int8Input(step, _pre_scale(folder, name))
    kv = {
        int(layer): (
            _scale(folder, f"keys of layer {layer}", e["k"]),
            _scale(folder, f"values of layer {layer}", e["v"]),
        )
        for layer, e in document.get("kv_cache", {}).items()
    }
    if kv and set(kv) != set(range(n_layers)):
        raise RefusedError(folder.which, f"{_FILE} has KV cache scales of {len(kv)} layers; the model has {n_layers}")
    return Activations(inputs, kv), frozenset(used)


def _pre_scale(folder: CheckpointFolder, name: str | None) -> torch.Tensor | None:
    return None if name is None else folder.vector(name)


def _scale(folder: CheckpointFolder, what: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise RefusedError(folder.which, f"{_FILE}: the scale of {what} is {value}, which is no step")
    return float(value)
