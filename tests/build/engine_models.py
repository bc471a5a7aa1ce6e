"""The model of the quickstart as checkpoints that the Orin recipes name: the same architectures, made small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgec.source.safetensors import read_header
from edgec.source.safetensors_file import SafetensorsFile, TensorSpec, plan_safetensors

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
_LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
_KEPT = ("generation_config.json", "tokenizer.json", "tokenizer_config.json")


def llama3(folder: Path) -> dict[str, bytes]:
    """Llama 3: 8192 positions. The weights learned from fewer, which changes nothing below 256 tokens."""
    return _files({"max_position_embeddings": 8192}, (MODEL / "model.safetensors").read_bytes())


def llama32(folder: Path) -> dict[str, bytes]:
    """Llama 3.2: scaled rotary angles, which differ from plain ones only in slow turns."""
    changes = {"max_position_embeddings": 131072, "rope_scaling": _LLAMA3_SCALING}
    return _files(changes, (MODEL / "model.safetensors").read_bytes())


def qwen2(folder: Path) -> dict[str, bytes]:
    """Qwen2: a Llama whose queries, keys and values have biases; small ones, so that it still writes as it learned."""
    header = read_header(MODEL / "model.safetensors", file="model.safetensors")
    specs = [TensorSpec(t.name, "BF16", t.shape) for t in header.values()]
    names = [n for n in header if n.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))]
    specs += [TensorSpec(n.replace(".weight", ".bias"), "F32", header[n].shape[:1]) for n in names]
    data = (MODEL / "model.safetensors").read_bytes()
    random = np.random.default_rng(0)
    path = folder / "qwen2.safetensors"
    with SafetensorsFile(path, plan_safetensors(specs)) as file:
        for t in header.values():
            rows = np.frombuffer(data, "<u2", t.elements, t.offset).reshape(t.shape)
            file.write(t.name, rows)
        for n in names:
            file.write(n.replace(".weight", ".bias"), random.normal(0, 0.02, header[n].shape[0]).astype("<f4"))
    changes = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "max_position_embeddings": 32768,
        "use_sliding_window": False,
    }
    return _files(changes, path.read_bytes(), without=("head_dim", "attention_bias", "mlp_bias"))


def _files(changes: dict[str, Any], weights: bytes, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    config = {**json.loads((MODEL / "config.json").read_bytes()), **changes}
    config = {key: value for key, value in config.items() if key not in without}
    small = {name: (MODEL / name).read_bytes() for name in _KEPT}
    return {**small, "config.json": json.dumps(config).encode(), "model.safetensors": weights}
