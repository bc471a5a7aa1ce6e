"""Qwen 2 and 2.5 (`Qwen2ForCausalLM` -> `qwen2`) and Qwen 3 (`Qwen3ForCausalLM` -> `qwen3`)."""

from __future__ import annotations

from edgec.formats.gguf.architectures.architecture import Request, finish
from edgec.formats.gguf.architectures.config import Config
from edgec.formats.gguf.architectures.decoder import (
    SILU,
    Dimensions,
    model_shape,
    read_dimensions,
    require_square_attention,
    take_block,
    take_ends,
    write_dimensions,
)
from edgec.formats.gguf.architectures.metadata import MetadataWriter
from edgec.formats.gguf.architectures.pooling import write_pooling
from edgec.formats.gguf.architectures.rope import read_rope, require_whole, write_rope
from edgec.formats.gguf.architectures.tensors import TensorLedger
from edgec.formats.gguf.architectures.window import cut_to_window, layer_window
from edgec.formats.gguf.model import MappedModel

_QWEN2_DEFAULTS = {
    "hidden_act": "silu",
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
}
_QWEN3_DEFAULTS = {**_QWEN2_DEFAULTS, "attention_bias": False, "head_dim": 128}
_ROPE_KINDS = ("default", "linear", "yarn")


def map_qwen2(request: Request) -> MappedModel:
    """Maps a `Qwen2ForCausalLM`: biases on q, k and v."""
    config = request.config.with_defaults(_QWEN2_DEFAULTS)
    dims = read_dimensions(config)
    require_square_attention(config, dims)
    return _map(request, config, dims, "qwen2")


def map_qwen3(request: Request) -> MappedModel:
    """Maps a `Qwen3ForCausalLM`: norms on the heads of q and k, no biases."""
    config = request.config.with_defaults(_QWEN3_DEFAULTS)
    config.require("attention_bias", (False,), "llama.cpp's qwen3 has no biases")
    return _map(request, config, read_dimensions(config), "qwen3")


def _map(request: Request, config: Config, dims: Dimensions, arch: str) -> MappedModel:
    config.require("hidden_act", SILU, "llama.cpp computes SiLU here")
    rope = read_rope(config, _ROPE_KINDS)
    require_whole(rope)
    dims, notes = cut_to_window(dims, layer_window(config, dims.n_layer), arch)

    metadata = MetadataWriter(arch)
    write_dimensions(dims, metadata, head_widths=arch == "qwen3")
    write_rope(rope, metadata)
    write_pooling(request.header, metadata)

    ledger = TensorLedger(request.header.tensors)
    take_ends(ledger, dims, tied=config.flag("tie_word_embeddings"))
    for layer in range(dims.n_layer):
        take_block(ledger, dims, layer)
        source, name = f"model.layers.{layer}.self_attn", f"blk.{layer}"
        if arch == "qwen2":
            ledger.take(f"{source}.q_proj.bias", f"{name}.attn_q.bias", (dims.n_q,))
            ledger.take(f"{source}.k_proj.bias", f"{name}.attn_k.bias", (dims.n_kv,))
            ledger.take(f"{source}.v_proj.bias", f"{name}.attn_v.bias", (dims.n_kv,))
        else:
            ledger.take(f"{source}.q_norm.weight", f"{name}.attn_q_norm.weight", (dims.head_dim,))
            ledger.take(f"{source}.k_norm.weight", f"{name}.attn_k_norm.weight", (dims.head_dim,))
    return finish(request, metadata, ledger, model_shape(dims), notes=notes)
