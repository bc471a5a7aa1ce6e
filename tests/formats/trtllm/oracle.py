"""Reads a TensorRT-LLM checkpoint by the published facts of its layout, a number at a time where that is feasible.

Written apart from edgec's reader, and with nothing of it: what both say has two sources.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_TYPES = {"F16": np.float16, "F32": np.float32, "I8": np.int8}


def read_tensors(path: Path) -> dict[str, Array]:
    """All tensors of a safetensors file."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header.pop("__metadata__", None)
    return {
        n: np.frombuffer(data[end + e["data_offsets"][0] : end + e["data_offsets"][1]], _TYPES[e["dtype"]]).reshape(
            e["shape"]
        )
        for n, e in header.items()
    }


def engine_weight(tensors: dict[str, Array], name: str, algo: str | None) -> Array:
    """What the engine multiplies with for the linear `name`: float32 (outputs, inputs)."""
    stored = tensors[f"{name}.weight"]
    if algo is None:
        return stored.astype(np.float32)
    if algo in ("W8A16", "W4A16"):
        return _quantized_at_load(stored, 8 if algo == "W8A16" else 4)
    scales = tensors[f"{name}.weights_scaling_factor"]
    if algo == "W8A8_SQ_PER_CHANNEL":
        return stored.astype(np.float32) * scales[:, None]
    codes = np.empty((2 * stored.shape[0], stored.shape[1]), np.float32)
    for half in (0, 1):
        nibble = (stored.astype(np.int32) >> (4 * half)) & 15
        codes[half::2] = np.where(nibble > 7, nibble - 16, nibble)
    return codes * np.repeat(scales, stored.shape[1] // scales.shape[1], axis=1)


def _quantized_at_load(weights: Array, bits: int) -> Array:
    """In double precision from the quotient on, which float32 rounds as the build's C++ does."""
    levels = 2 ** (bits - 1)
    scales = np.abs(weights.astype(np.float32)).max(axis=1, keepdims=True) * np.float32(1 / levels)
    quotients = np.divide(weights.astype(np.float32), scales, out=np.zeros(weights.shape, np.float32), where=scales > 0)
    codes = np.floor(np.abs(quotients.astype(np.float64)) + 0.5) * np.sign(quotients)
    return (np.clip(codes, -levels, levels - 1) * scales.astype(np.float16).astype(np.float64)).astype(np.float32)


def hugging_face(folder: Path) -> dict[str, Array]:
    """The checkpoint as Hugging Face's tensors, float32, with factors of INT4's inputs folded in."""
    config = json.loads((folder / "config.json").read_text())
    tensors = read_tensors(folder / "rank0.safetensors")
    algo = config["quantization"]["quant_algo"]
    out = {
        "model.embed_tokens.weight": tensors["transformer.vocab_embedding.weight"],
        "model.norm.weight": tensors["transformer.ln_f.weight"],
    }
    if "lm_head.weight" in tensors:
        out["lm_head.weight"] = tensors["lm_head.weight"]
    q = config["num_attention_heads"] * config["head_size"]
    kv = config["num_key_value_heads"] * config["head_size"]
    for index in range(config["num_hidden_layers"]):
        layer, ours = f"model.layers.{index}", f"transformer.layers.{index}"
        out[f"{layer}.input_layernorm.weight"] = tensors[f"{ours}.input_layernorm.weight"]
        out[f"{layer}.post_attention_layernorm.weight"] = tensors[f"{ours}.post_layernorm.weight"]

        def weight(name: str, ours: str = ours) -> Array:
            values = engine_weight(tensors, f"{ours}.{name}", algo)
            factors = tensors.get(f"{ours}.{name}.prequant_scaling_factor")
            return values * factors.astype(np.float32) if algo == "W4A16_AWQ" and factors is not None else values

        fused = weight("attention.qkv")
        bias = tensors.get(f"{ours}.attention.qkv.bias")
        for name, begin, end in (("q", 0, q), ("k", q, q + kv), ("v", q + kv, q + 2 * kv)):
            out[f"{layer}.self_attn.{name}_proj.weight"] = fused[begin:end]
            if bias is not None:
                out[f"{layer}.self_attn.{name}_proj.bias"] = bias[begin:end]
        out[f"{layer}.self_attn.o_proj.weight"] = weight("attention.dense")
        out[f"{layer}.mlp.gate_proj.weight"] = weight("mlp.fc")
        out[f"{layer}.mlp.up_proj.weight"] = weight("mlp.gate")
        out[f"{layer}.mlp.down_proj.weight"] = weight("mlp.proj")
    return {n: v.astype(np.float32) for n, v in out.items()}
