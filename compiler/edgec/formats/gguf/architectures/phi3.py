"""Phi-3 and Phi-4-mini (`Phi3ForCausalLM`) -> `phi3`: fused q, k, v and fused gate, up; long contexts by factors."""

from __future__ import annotations

import math

from edgec.formats.gguf.architectures.architecture import Request, finish
from edgec.formats.gguf.architectures.config import Config, is_number
from edgec.formats.gguf.architectures.decoder import (
    SILU,
    Dimensions,
    model_shape,
    read_dimensions,
    require_square_attention,
    take_ends,
    write_dimensions,
)
from edgec.formats.gguf.architectures.metadata import MetadataWriter, as_float32
from edgec.formats.gguf.architectures.rope import Rope, read_rope
from edgec.formats.gguf.architectures.tensors import TensorLedger
from edgec.formats.gguf.architectures.window import cut_to_window
from edgec.formats.gguf.model import MappedModel

_DEFAULTS = {
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}
# `su` is what Phi-3's first release called longrope.
_LONG = ("longrope", "su")


def map_phi3(request: Request) -> MappedModel:
    """Maps a `Phi3ForCausalLM`; a window shorter than the context cuts the context."""
    config = request.config.with_defaults(_DEFAULTS)
    config.require("hidden_act", SILU, "llama.cpp computes SiLU here")
    config.require("attention_bias", (None, False), "llama.cpp's phi3 has no biases")
    rope = read_rope(config, ("default", *_LONG))
    whole = read_dimensions(config)
    require_square_attention(config, whole)
    window = config.optional_integer("sliding_window")
    dims, notes = cut_to_window(whole, window, "phi3")

    metadata = MetadataWriter("phi3")
    write_dimensions(dims, metadata, head_widths=False)
    n_rot = int(rope.partial * dims.head_dim)
    metadata.integer("rope.scaling.original_context_length", rope.original_context)
    metadata.integer("rope.dimension_count", n_rot)
    metadata.number("rope.freq_base", rope.theta)
    # llama.cpp reads the window and then does without it; zero tells Phi-4 from Phi-3.
    metadata.integer("attention.sliding_window", window or 0)

    ledger = TensorLedger(request.header.tensors)
    if rope.kind in _LONG:
        metadata.number("rope.scaling.attn_factor", _attention_factor(rope, whole.context_length))
        for kind in ("long", "short"):
            ledger.add_computed(f"rope_factors_{kind}.weight", _factors(rope.scaling, f"{kind}_factor", n_rot // 2))
        notes = (*notes, _switch_note(rope.original_context))
    take_ends(ledger, dims, tied=config.flag("tie_word_embeddings"))
    for layer in range(dims.n_layer):
        _take_layer(ledger, dims, f"model.layers.{layer}", f"blk.{layer}")
    return finish(request, metadata, ledger, model_shape(dims), notes=notes)


def _take_layer(ledger: TensorLedger, dims: Dimensions, source: str, name: str) -> None:
    n_embd, n_ff = dims.n_embd, dims.n_ff
    ledger.take(f"{source}.input_layernorm.weight", f"{name}.attn_norm.weight", (n_embd,))
    fused = (dims.n_q + 2 * dims.n_kv, n_embd)
    ledger.take(f"{source}.self_attn.qkv_proj.weight", f"{name}.attn_qkv.weight", fused)
    ledger.take(f"{source}.self_attn.o_proj.weight", f"{name}.attn_output.weight", (n_embd, dims.n_q))
    ledger.take(f"{source}.post_attention_layernorm.weight", f"{name}.ffn_norm.weight", (n_embd,))
    ledger.take(f"{source}.mlp.gate_up_proj.weight", f"{name}.ffn_up.weight", (2 * n_ff, n_embd))
    ledger.take(f"{source}.mlp.down_proj.weight", f"{name}.ffn_down.weight", (n_embd, n_ff))


def _attention_factor(rope: Rope, context_length: int) -> float:
    stated = rope.scaling.optional_number("attention_factor")
    if stated is not None:
        return stated
    if rope.original_context == 1:
        raise rope.scaling.wrong("original_max_position_embeddings", "larger than 1")
    stretch = rope.scaling.optional_number("factor") or context_length / rope.original_context
    return math.sqrt(1 + math.log(stretch) / math.log(rope.original_context)) if stretch > 1 else 1.0


def _factors(scaling: Config, key: str, n: int) -> tuple[float, ...]:
    """One divisor per rotated pair."""
    values = scaling.get(key)
    if not isinstance(values, list) or len(values) != n or not all(is_number(v) and v > 0 for v in values):
        raise scaling.wrong(key, f"a list of {n} positive numbers")
    return tuple(as_float32(v) for v in values)


def _switch_note(original_context: int) -> str:
    return (
        f"llama.cpp takes the long rope factors when the context is larger than {original_context} tokens, "
        "transformers when the text is: short texts in a large context differ a little"
    )
