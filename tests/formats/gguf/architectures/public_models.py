"""Headers of public models, without weights: their config.json (configs/), and their tensors' names and shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgec.source.model import CheckpointHeader, DType, SourceIdentity, TensorInfo

_CONFIGS = Path(__file__).with_name("configs")
Shapes = dict[str, tuple[int, ...]]


def read_config(name: str) -> dict[str, Any]:
    """The config.json of a public model."""
    config: dict[str, Any] = json.loads((_CONFIGS / f"{name}.json").read_text())
    return config


def header(config: Mapping[str, Any], shapes: Shapes, files: Mapping[str, Any] | None = None) -> CheckpointHeader:
    """A header with these tensors and small JSON files."""
    tensors = {n: TensorInfo(n, DType.BF16, s, "model.safetensors", 0, 0) for n, s in shapes.items()}
    contents = {name: json.dumps(value).encode() for name, value in (files or {}).items()}
    return CheckpointHeader(config, tensors, contents, SourceIdentity("file:model", None, "apache-2.0", ()))


def decoder(config: Mapping[str, Any], head_dim: int) -> Shapes:
    """Tensors of a Llama; other families add to it or take away from it."""
    d, ff, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    q, kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    shapes: Shapes = {"model.embed_tokens.weight": (vocab, d), "model.norm.weight": (d,)}
    if not config.get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (vocab, d)
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        shapes |= {
            f"{layer}.input_layernorm.weight": (d,),
            f"{layer}.post_attention_layernorm.weight": (d,),
            f"{layer}.self_attn.q_proj.weight": (q, d),
            f"{layer}.self_attn.k_proj.weight": (kv, d),
            f"{layer}.self_attn.v_proj.weight": (kv, d),
            f"{layer}.self_attn.o_proj.weight": (d, q),
            f"{layer}.mlp.gate_proj.weight": (ff, d),
            f"{layer}.mlp.up_proj.weight": (ff, d),
            f"{layer}.mlp.down_proj.weight": (d, ff),
        }
    return shapes


def qwen2(config: Mapping[str, Any]) -> Shapes:
    """Tensors of a Qwen 2."""
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    shapes = decoder(config, head_dim)
    for i in range(config["num_hidden_layers"]):
        for part, heads in (("q", "num_attention_heads"), ("k", "num_key_value_heads"), ("v", "num_key_value_heads")):
            shapes[f"model.layers.{i}.self_attn.{part}_proj.bias"] = (config[heads] * head_dim,)
    return shapes


def qwen3(config: Mapping[str, Any]) -> Shapes:
    """Tensors of a Qwen 3."""
    shapes = decoder(config, config["head_dim"])
    for i in range(config["num_hidden_layers"]):
        for part in ("q", "k"):
            shapes[f"model.layers.{i}.self_attn.{part}_norm.weight"] = (config["head_dim"],)
    return shapes


def gemma3(config: Mapping[str, Any]) -> Shapes:
    """Tensors of a Gemma 3's decoder."""
    shapes = decoder({**config, "tie_word_embeddings": True}, config["head_dim"])
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        for norm in ("pre_feedforward_layernorm", "post_feedforward_layernorm"):
            shapes[f"{layer}.{norm}.weight"] = (config["hidden_size"],)
        for part in ("q", "k"):
            shapes[f"{layer}.self_attn.{part}_norm.weight"] = (config["head_dim"],)
    return shapes


def phi3(config: Mapping[str, Any]) -> Shapes:
    """Tensors of a Phi-3."""
    d, ff = config["hidden_size"], config["intermediate_size"]
    head_dim = d // config["num_attention_heads"]
    separate = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
    shapes = {n: s for n, s in decoder(config, head_dim).items() if not any(part in n for part in separate)}
    for i in range(config["num_hidden_layers"]):
        shapes[f"model.layers.{i}.self_attn.qkv_proj.weight"] = (d + 2 * config["num_key_value_heads"] * head_dim, d)
        shapes[f"model.layers.{i}.mlp.gate_up_proj.weight"] = (2 * ff, d)
    return shapes


def bert(config: Mapping[str, Any], prefix: str = "", norm: tuple[str, str] = ("weight", "bias")) -> Shapes:
    """Tensors of a BERT with a pooler."""
    d, ff = config["hidden_size"], config["intermediate_size"]
    shapes: Shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], d),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], d),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], d),
        "embeddings.position_ids": (1, config["max_position_embeddings"]),
        "pooler.dense.weight": (d, d),
        "pooler.dense.bias": (d,),
        **{f"embeddings.LayerNorm.{part}": (d,) for part in norm},
    }
    for i in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{i}"
        matrices = {f"attention.self.{part}": (d, d) for part in ("query", "key", "value")}
        matrices |= {"attention.output.dense": (d, d), "intermediate.dense": (ff, d), "output.dense": (d, ff)}
        for name, shape in matrices.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
        for place in ("attention.output", "output"):
            shapes |= {f"{layer}.{place}.LayerNorm.{part}": (d,) for part in norm}
    return {prefix + name: shape for name, shape in shapes.items()}


def nomic_bert(config: Mapping[str, Any]) -> Shapes:
    """Tensors of a Nomic BERT as its publisher names them."""
    d, ff = config["n_embd"], config["n_inner"]
    shapes: Shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], d),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], d),
        "emb_ln.weight": (d,),
        "emb_ln.bias": (d,),
    }
    for i in range(config["n_layer"]):
        layer = f"encoder.layers.{i}"
        shapes |= {
            f"{layer}.attn.Wqkv.weight": (3 * d, d),
            f"{layer}.attn.out_proj.weight": (d, d),
            f"{layer}.mlp.fc11.weight": (ff, d),
            f"{layer}.mlp.fc12.weight": (ff, d),
            f"{layer}.mlp.fc2.weight": (d, ff),
        }
        shapes |= {f"{layer}.{norm}.{part}": (d,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
    return shapes
