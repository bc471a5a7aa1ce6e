"""Llama 2, 3, 3.1, 3.2 and SmolLM2: `LlamaForCausalLM` -> `llama`."""

from __future__ import annotations

from ..model import MappedModel
from .architecture import Request
from .decoder import Dimensions, attend_and_feed, finish, read_dimensions, take_embeddings, write_dimensions
from .metadata import MetadataWriter
from .rope import read_rope, require_kind, take_llama3_factors, write_rope
from .tensors import ROTARY_BUFFERS, TensorLedger


def map_llama(request: Request) -> MappedModel:
    """Maps a `LlamaForCausalLM`."""
    config = request.config
    config.require("hidden_act", ("silu",), "silu", "llama.cpp's llama block computes SiLU")
    dims = read_dimensions(config, norm_epsilon=1e-6)
    rope = read_rope(config, default_theta=10000.0)
    require_kind(rope, ("default", "linear", "llama3"))

    metadata = MetadataWriter("llama", request.name, request.header.identity)
    write_dimensions(dims, metadata, explicit_head_dim="head_dim" in config.values)
    write_rope(rope, metadata)
    metadata.integer("vocab_size", dims.n_vocab)
    metadata.integer("rope.dimension_count", dims.head_dim)

    ledger = TensorLedger(request.header.tensors)
    take_embeddings(ledger, dims, tied=config.flag("tie_word_embeddings", False))
    attention_bias, mlp_bias = config.flag("attention_bias", False), config.flag("mlp_bias", False)
    for layer in range(dims.n_layer):
        _take_layer(ledger, dims, layer, attention_bias, mlp_bias)
    take_llama3_factors(rope, dims.head_dim, ledger)
    ledger.ignore(ROTARY_BUFFERS)
    return finish("llama", dims, metadata, ledger)


def _take_layer(ledger: TensorLedger, dims: Dimensions, layer: int, attention_bias: bool, mlp_bias: bool) -> None:
    attend_and_feed(ledger, dims, layer, interleave=True)
    source, name = f"model.layers.{layer}", f"blk.{layer}"
    if attention_bias:
        q, kv = dims.n_head * dims.head_dim, dims.n_head_kv * dims.head_dim
        ledger.take(f"{source}.self_attn.q_proj.bias", f"{name}.attn_q.bias", (q,), unpermute_heads=dims.n_head)
        ledger.take(f"{source}.self_attn.k_proj.bias", f"{name}.attn_k.bias", (kv,), unpermute_heads=dims.n_head_kv)
        ledger.take(f"{source}.self_attn.v_proj.bias", f"{name}.attn_v.bias", (kv,))
        ledger.take(f"{source}.self_attn.o_proj.bias", f"{name}.attn_output.bias", (dims.n_embd,))
    if mlp_bias:
        ledger.take(f"{source}.mlp.gate_proj.bias", f"{name}.ffn_gate.bias", (dims.n_ff,))
        ledger.take(f"{source}.mlp.up_proj.bias", f"{name}.ffn_up.bias", (dims.n_ff,))
        ledger.take(f"{source}.mlp.down_proj.bias", f"{name}.ffn_down.bias", (dims.n_embd,))
