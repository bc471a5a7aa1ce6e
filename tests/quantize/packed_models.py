"""Checkpoints with one quantized linear in every layout, packed bit by bit from the layouts' definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.source.local import open_local
from edgec.source.model import Checkpoint
from edgec.source.safetensors_file import NUMPY_DTYPES, SafetensorsFile, TensorSpec, plan_safetensors

Array = NDArray[Any]
NAMES = {v: k for k, v in NUMPY_DTYPES.items() if k != "BF16"}
NAME = "model.layers.0.self_attn.q_proj"
GROUP = 32
OUTPUTS, INPUTS = 48, 96


def write_checkpoint(folder: Path, tensors: dict[str, Array], config: dict[str, Any], **files: str) -> Checkpoint:
    """A checkpoint of these arrays; uint16 stands for the bits of BF16."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {n: "BF16" if a.dtype == np.uint16 else NAMES[a.dtype] for n, a in tensors.items()}
    layout = plan_safetensors(TensorSpec(n, kinds[n], a.shape) for n, a in tensors.items())
    with SafetensorsFile(folder / "model.safetensors", layout) as file:
        for name, values in tensors.items():
            file.write(name, values)
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **config}))
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return open_local(folder)


def pack_awq_slowly(codes: Array) -> Array:
    """(outputs, inputs) codes as AutoAWQ's words (inputs, outputs / 8): order_map 0 2 4 6 1 3 5 7."""
    outputs, inputs = codes.shape
    words = np.zeros((inputs, outputs // 8), np.uint32)
    for i in range(inputs):
        for o in range(outputs):
            position = [0, 2, 4, 6, 1, 3, 5, 7].index(o % 8)
            words[i, o // 8] |= np.uint32(int(codes[o, i]) << (4 * position))
    return words.view(np.int32)


def pack_gptq_slowly(codes: Array) -> Array:
    """(outputs, inputs) codes as GPTQ's words (inputs / 8, outputs): input 8 r + k in the bits from 4 k on."""
    outputs, inputs = codes.shape
    words = np.zeros((inputs // 8, outputs), np.uint32)
    for i in range(inputs):
        for o in range(outputs):
            words[i // 8, o] |= np.uint32(int(codes[o, i]) << (4 * (i % 8)))
    return words.view(np.int32)


def pack_zeros_slowly(zeros: Array) -> Array:
    """(outputs, groups) stored zero points as GPTQ's words (groups, outputs / 8)."""
    outputs, groups = zeros.shape
    words = np.zeros((groups, outputs // 8), np.uint32)
    for g in range(groups):
        for o in range(outputs):
            words[g, o // 8] |= np.uint32(int(zeros[o, g]) << (4 * (o % 8)))
    return words.view(np.int32)


def random_codes(seed: int = 0) -> Array:
    """Codes 0..15 (outputs, inputs)."""
    return np.random.default_rng(seed).integers(0, 16, (OUTPUTS, INPUTS)).astype(np.uint8)


def random_scales(seed: int = 1) -> Array:
    """Scales (outputs, groups) that float16 holds exactly."""
    values = np.random.default_rng(seed).uniform(0.01, 0.1, (OUTPUTS, INPUTS // GROUP))
    return values.astype(np.float16)


def expanded(groups: Array) -> Array:
    """(outputs, groups) to (outputs, inputs)."""
    return np.repeat(groups, GROUP, axis=1)
