"""Random decoders of every supported class, small enough for tests, with docs-llama's tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from packed_models import Array, write_checkpoint

from edgec.source.model import Checkpoint

DOCS_LLAMA = Path(__file__).parents[2] / "models" / "docs-llama"
CALIBRATION = (DOCS_LLAMA / "calibration.txt").read_text(encoding="utf-8")[:40_000]
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# Class -> what is its own in config.json.
FAMILIES: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {"model_type": "llama", "rope_theta": 500000.0, "rope_scaling": LLAMA3},
    "MistralForCausalLM": {"model_type": "mistral", "head_dim": 16, "sliding_window": None},
    "Qwen2ForCausalLM": {"model_type": "qwen2", "rope_theta": 1000000.0, "tie_word_embeddings": True},
    "Qwen3ForCausalLM": {"model_type": "qwen3", "head_dim": 32, "tie_word_embeddings": True},
}
GROUP = 32


def config_of(name: str, **changes: Any) -> dict[str, Any]:
    """config.json of a small model of the class `name`."""
    return {
        "architectures": [name],
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 4096,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 4093,
        "eos_token_id": 4095,
        "torch_dtype": "bfloat16",
        **FAMILIES[name],
        **changes,
    }


def tensors_of(config: dict[str, Any], seed: int = 0) -> dict[str, Array]:
    """Random BF16 weights, as bits; a few input channels are loud, as in real models."""
    rng = np.random.default_rng(seed)
    width, inner, heads, kv = (
        config[k] for k in ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    )
    head_dim = config.get("head_dim") or width // heads
    shapes = {
        "self_attn.q_proj": (heads * head_dim, width),
        "self_attn.k_proj": (kv * head_dim, width),
        "self_attn.v_proj": (kv * head_dim, width),
        "self_attn.o_proj": (width, heads * head_dim),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    found: dict[str, Array] = {"model.embed_tokens.weight": rng.standard_normal((config["vocab_size"], width)) * 0.5}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, shape in shapes.items():
            found[f"{prefix}{name}.weight"] = rng.standard_normal(shape) / np.sqrt(shape[1])
        for norm in ("input_layernorm", "post_attention_layernorm"):
            values = rng.uniform(0.5, 1.5, width)
            values[::13] *= 6
            found[f"{prefix}{norm}.weight"] = values
        if config["model_type"] == "qwen2":
            for x in "qkv":
                found[f"{prefix}self_attn.{x}_proj.bias"] = (
                    rng.standard_normal(len(found[f"{prefix}self_attn.{x}_proj.weight"])) * 0.2
                )
        if config["model_type"] == "qwen3":
            for x in "qk":
                found[f"{prefix}self_attn.{x}_norm.weight"] = rng.uniform(0.5, 1.5, head_dim)
    found["model.norm.weight"] = rng.uniform(0.5, 1.5, width)
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = rng.standard_normal((config["vocab_size"], width)) * 0.2
    return {n: as_bits(v) for n, v in found.items()}


def as_bits(values: Array) -> Array:
    """BF16 by cutting, as bits."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def write_small(folder: Path, name: str = "LlamaForCausalLM", **changes: Any) -> Checkpoint:
    """A small checkpoint of the class `name` in `folder`."""
    config = config_of(name, **changes)
    tokenizer = (DOCS_LLAMA / "tokenizer.json").read_text(encoding="utf-8")
    return write_checkpoint(folder, tensors_of(config), config, tokenizer__json=tokenizer)


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Replaces config.json."""
    (folder / "config.json").write_text(json.dumps(config))
