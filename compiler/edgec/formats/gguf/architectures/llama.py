"""Llama 2, 3, 3.1, 3.2, SmolLM2 (`LlamaForCausalLM`) and Mistral (`MistralForCausalLM`) -> `llama`."""

from __future__ import annotations

from edgec.formats.gguf.architectures.architecture import Request, finish
from edgec.formats.gguf.architectures.config import Config
from edgec.formats.gguf.architectures.decoder import (
    SILU,
    Dimensions,
    model_shape,
    read_dimensions,
    take_block,
    take_ends,
    write_dimensions,
)
from edgec.formats.gguf.architectures.metadata import MetadataWriter
from edgec.formats.gguf.architectures.rope import add_llama3_factors, read_rope, require_whole, write_rope
from edgec.formats.gguf.architectures.tensors import TensorLedger
from edgec.formats.gguf.architectures.window import cut_to_window
from edgec.formats.gguf.model import MappedModel

_LLAMA_DEFAULTS = {
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
}
_MISTRAL_DEFAULTS = {
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
}
_ROPE_KINDS = ("default", "linear", "llama3", "yarn")


def map_llama(request: Request) -> MappedModel:
    """Maps a `LlamaForCausalLM`."""
    return _map(request, request.config.with_defaults(_LLAMA_DEFAULTS), window=None)


def map_mistral(request: Request) -> MappedModel:
    """Maps a `MistralForCausalLM`; a window shorter than the context cuts the context."""
    config = request.config.with_defaults(_MISTRAL_DEFAULTS)
    return _map(request, config, window=config.optional_integer("sliding_window"))


def _map(request: Request, config: Config, window: int | None) -> MappedModel:
    config.require("hidden_act", SILU, "llama.cpp computes SiLU here")
    rope = read_rope(config, _ROPE_KINDS)
    require_whole(rope)
    dims, notes = cut_to_window(read_dimensions(config), window, "llama")

    metadata = MetadataWriter("llama")
    write_dimensions(dims, metadata, head_widths=True)
    write_rope(rope, metadata)
    metadata.integer("vocab_size", dims.n_vocab)
    metadata.integer("rope.dimension_count", dims.head_dim)

    ledger = TensorLedger(request.header.tensors)
    add_llama3_factors(rope, dims.head_dim, ledger)
    take_ends(ledger, dims, tied=config.flag("tie_word_embeddings"))
    for layer in range(dims.n_layer):
        take_block(ledger, dims, layer, interleave=True)
        if config.flag("attention_bias"):
            _take_attention_biases(ledger, dims, layer)
        if config.flag("mlp_bias"):
            _take_mlp_biases(ledger, dims, layer)
    return finish(request, metadata, ledger, model_shape(dims), notes=notes)


def _take_attention_biases(ledger: TensorLedger, dims: Dimensions, layer: int) -> None:
    source, name = f"model.layers.{layer}.self_attn", f"blk.{layer}"
    ledger.take(f"{source}.q_proj.bias", f"{name}.attn_q.bias", (dims.n_q,), unpermute_heads=dims.n_head)
    ledger.take(f"{source}.k_proj.bias", f"{name}.attn_k.bias", (dims.n_kv,), unpermute_heads=dims.n_head_kv)
    ledger.take(f"{source}.v_proj.bias", f"{name}.attn_v.bias", (dims.n_kv,))
    ledger.take(f"{source}.o_proj.bias", f"{name}.attn_output.bias", (dims.n_embd,))


def _take_mlp_biases(ledger: TensorLedger, dims: Dimensions, layer: int) -> None:
    source, name = f"model.layers.{layer}.mlp", f"blk.{layer}"
    ledger.take(f"{source}.gate_proj.bias", f"{name}.ffn_gate.bias", (dims.n_ff,))
    ledger.take(f"{source}.up_proj.bias", f"{name}.ffn_up.bias", (dims.n_ff,))
    ledger.take(f"{source}.down_proj.bias", f"{name}.ffn_down.bias", (dims.n_embd,))
