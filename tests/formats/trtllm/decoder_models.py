"""Tiny checkpoints of the architectures that TensorRT-LLM takes, plain and quantized, made of random numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from packed_models import write_checkpoint

from edgec.source.model import Checkpoint

Array = NDArray[Any]
LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
QWEN2 = {
    **{k: v for k, v in LLAMA.items() if k != "head_dim"},
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "sliding_window": 128,
}
AWQ = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}}
MODELOPT_AWQ = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "group_size": 128}}
SMOOTHQUANT = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "W8A8_SQ_PER_CHANNEL"}}
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True)
class Linear:
    """Codes (outputs, inputs), scales (outputs, groups)."""

    codes: Array
    scales: Array

    @property
    def values(self) -> Array:
        """What a kernel multiplies with."""
        return (self.codes.reshape(*self.scales.shape, -1) * self.scales[:, :, None]).reshape(self.codes.shape)


def linears(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """The linears of all layers, with output and input channels."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    size = config.get("head_dim", hidden // config["num_attention_heads"])
    q, kv = config["num_attention_heads"] * size, config["num_key_value_heads"] * size
    one = {
        "self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }  # fmt: skip
    return {f"model.layers.{i}.{n}": s for i in range(config["num_hidden_layers"]) for n, s in one.items()}


def others(config: dict[str, Any], seed: int = 0) -> dict[str, Array]:
    """Embeddings, norms, the output layer and biases, in FP16."""
    rng = np.random.default_rng(seed)
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]

    def half(*shape: int, mean: float = 0.0) -> Array:
        return (mean + rng.standard_normal(shape) * 0.3).astype(np.float16)

    found = {"model.embed_tokens.weight": half(vocabulary, hidden), "model.norm.weight": half(hidden, mean=1.0)}
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = half(vocabulary, hidden)
    for layer in range(config["num_hidden_layers"]):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"model.layers.{layer}.{norm}.weight"] = half(hidden, mean=1.0)
    biased = [
        n for n in linears(config) if config["model_type"] == "qwen2" and n.endswith(("q_proj", "k_proj", "v_proj"))
    ]
    return found | {f"{n}.bias": half(linears(config)[n][0]) for n in biased}


def plain_tensors(config: dict[str, Any], seed: int = 0) -> dict[str, Array]:
    """All tensors in FP16."""
    rng = np.random.default_rng(seed + 1)
    found = others(config, seed)
    for name, (rows, columns) in linears(config).items():
        found[f"{name}.weight"] = (rng.standard_normal((rows, columns)) / math.sqrt(columns)).astype(np.float16)
    return found


def plain(folder: Path, config: dict[str, Any], **changes: Array) -> Checkpoint:
    """A plain checkpoint of random numbers."""
    return write_checkpoint(folder, plain_tensors(config) | changes, config)


def quantized(config: dict[str, Any], bits: int, group: int | None, seed: int = 2) -> dict[str, Linear]:
    """Random codes and scales for every linear."""
    rng = np.random.default_rng(seed)
    found: dict[str, Linear] = {}
    for name, (rows, columns) in linears(config).items():
        codes = rng.integers(-(1 << bits - 1), 1 << bits - 1, (rows, columns)).astype(np.int8)
        size = 2.0 / (1 << bits) / math.sqrt(columns)
        scales = (size * rng.uniform(0.5, 1.5, (rows, columns // (group or columns)))).astype(np.float16)
        found[name] = Linear(codes, scales.astype(np.float32))
    return found


def awq(folder: Path, config: dict[str, Any], group: int = 128) -> tuple[Checkpoint, dict[str, Linear]]:
    """An AWQ checkpoint in AutoAWQ's layout, its scales folded."""
    made = quantized(config, 4, group)
    tensors = others(config)
    for name, linear in made.items():
        rows, columns = linear.codes.shape
        tensors[f"{name}.qweight"] = _awq_words(linear.codes)
        tensors[f"{name}.qzeros"] = _awq_words(np.zeros((rows, columns // group), np.int8))
        tensors[f"{name}.scales"] = np.ascontiguousarray(linear.scales.T.astype(np.float16))
    settings = {"quantization_config": {**AWQ["quantization_config"], "group_size": group}}
    return write_checkpoint(folder, tensors, {**config, **settings}), made


def modelopt_awq(folder: Path, config: dict[str, Any]) -> tuple[Checkpoint, dict[str, Linear], dict[str, Array]]:
    """An AWQ checkpoint in modelopt's layout: factors on the inputs of o_proj and down_proj."""
    made = quantized(config, 4, 128)
    tensors = others(config)
    factors = pre_scales(made, ("o_proj", "down_proj"))
    for name, linear in made.items():
        bits = linear.codes.view(np.uint8)
        tensors[f"{name}.weight"] = (bits[0::2] & 15) | (bits[1::2] << 4)
        tensors[f"{name}.weight_scale"] = linear.scales
    tensors |= {f"{n}.pre_quant_scale": v for n, v in factors.items()}
    return write_checkpoint(folder, tensors, {**config, **MODELOPT_AWQ}), made, factors


def smoothquant(folder: Path, config: dict[str, Any]) -> tuple[Checkpoint, dict[str, Linear], dict[str, Array]]:
    """A SmoothQuant checkpoint in modelopt's layout: factors on every input, one for q, k and v."""
    made = quantized(config, 8, None)
    tensors = others(config)
    factors = pre_scales(made, tuple(n.rpartition(".")[2] for n in made))
    for name, linear in made.items():
        tensors[f"{name}.weight"] = linear.codes
        tensors[f"{name}.weight_scale"] = linear.scales[:, 0].copy()
        tensors[f"{name}.input_scale"] = np.array([input_scale(name)], np.float32)
    tensors |= {f"{n}.pre_quant_scale": v for n, v in factors.items()}
    return write_checkpoint(folder, tensors, {**config, **SMOOTHQUANT}), made, factors


def input_scale(name: str) -> float:
    """A scale by the layer and the kind of input."""
    layer, kind = int(name.split(".")[2]), ("o_proj", "down_proj", "q_proj").index(next(
        (k for k in ("o_proj", "down_proj") if name.endswith(k)), "q_proj"
    ))  # fmt: skip
    return float(np.float32(0.03 + 0.01 * layer + 0.005 * kind))


def pre_scales(made: dict[str, Linear], ends: tuple[str, ...]) -> dict[str, Array]:
    """Factors of input channels in FP16; what has the same input has the same."""
    found: dict[str, Array] = {}
    for name, linear in made.items():
        if name.endswith(ends):
            seed = [int(name.split(".")[2]), *(part.encode()[0] for part in name.split(".")[3:4])]
            rng = np.random.default_rng(seed if "o_proj" not in name else [*seed, 7])
            found[name] = rng.uniform(0.5, 2.0, linear.codes.shape[1]).astype(np.float16)
    return found


def _awq_words(codes: Array) -> Array:
    """(outputs, inputs) signed codes as words (inputs, outputs / 8), around 8."""
    stored = (codes.astype(np.int16) + 8).astype(np.uint32).T.reshape(codes.shape[1], -1, 8)
    words = np.zeros(stored.shape[:2], np.uint32)
    for position, column in enumerate(_AWQ_ORDER):
        words |= stored[:, :, column] << np.uint32(4 * position)
    return words.view(np.int32)
