"""Nomic BERT (nomic-embed-text v1 and v1.5) -> `nomic-bert`.

Both spellings are read: the publisher's (n_embd, fused Wqkv) and that of transformers 5 (hidden_size, q_proj, ...).
"""

from __future__ import annotations

from edgec.formats.gguf.architectures.architecture import Request, finish
from edgec.formats.gguf.architectures.config import Config
from edgec.formats.gguf.architectures.decoder import SILU
from edgec.formats.gguf.architectures.encoder import UNUSED, EncoderDimensions, write_encoder, write_pooling_or_note
from edgec.formats.gguf.architectures.metadata import MetadataWriter
from edgec.formats.gguf.architectures.rope import read_rope, require_whole, write_rope
from edgec.formats.gguf.architectures.tensors import ROTARY_BUFFERS, TensorLedger
from edgec.formats.gguf.model import MappedModel
from edgec.source.nomic_bert import DEFAULTS, FIXED, is_published, respelled


def map_nomic_bert(request: Request) -> MappedModel:
    """Maps a `NomicBertModel`; mixtures of experts are refused."""
    for key in ("moe_every_n_layers", "num_experts"):
        request.config.require(key, (None, 0), "mixtures of experts are not supported")
    config = _in_one_spelling(request.config)
    config.require("hidden_act", SILU, "llama.cpp computes SwiGLU here")
    rope = read_rope(config, ("default",))
    require_whole(rope)
    dims = _read_dimensions(config)
    metadata = MetadataWriter("nomic-bert")
    write_encoder(dims, metadata)
    notes = write_pooling_or_note(request.header, metadata)
    write_rope(rope, metadata)
    ledger = TensorLedger(request.header.tensors)
    _take_tensors(ledger, dims)
    ledger.ignore(ROTARY_BUFFERS, *UNUSED)
    return finish(request, metadata, ledger, dims.model_shape(), kind="encoder", notes=notes)


def _in_one_spelling(config: Config) -> Config:
    """The config with transformers' keys."""
    if not is_published(config.values):
        return config.with_defaults(DEFAULTS)
    for key, allowed, why in FIXED:
        config.require(key, allowed, why)
    # A wrong one is told with its place, before it is computed with.
    for key in ("n_embd", "n_positions"):
        config.integer(key)
    config.optional_integer("max_trained_positions")
    return Config(respelled(config.values), config.place, DEFAULTS)


def _read_dimensions(config: Config) -> EncoderDimensions:
    n_embd, n_head = config.integer("hidden_size"), config.integer("num_attention_heads")
    if n_embd % n_head:
        raise config.wrong("hidden_size", f"a multiple of the number of heads ({n_head})")
    if (config.optional_integer("head_dim") or n_embd // n_head) != n_embd // n_head:
        raise config.wrong("head_dim", f"{n_embd} / {n_head}: llama.cpp has no other width here")
    return EncoderDimensions(
        n_layer=config.integer("num_hidden_layers"),
        n_embd=n_embd,
        n_ff=config.integer("intermediate_size"),
        n_head=n_head,
        n_vocab=config.integer("vocab_size"),
        n_types=config.integer("type_vocab_size"),
        context_length=config.integer("max_position_embeddings"),
        norm_epsilon=config.number("layer_norm_eps"),
    )


def _take_tensors(ledger: TensorLedger, dims: EncoderDimensions) -> None:
    word = "embeddings.word_embeddings.weight"
    prefix = next((p for p in ("bert.", "nomic_bert.") if p + word in ledger), "")
    published = f"{prefix}emb_ln.weight" in ledger
    ledger.take(prefix + word, "token_embd.weight", (dims.n_vocab, dims.n_embd))
    types = f"{prefix}embeddings.token_type_embeddings.weight"
    ledger.take(types, "token_types.weight", (dims.n_types, dims.n_embd), fixed_type="f32")
    norm = f"{prefix}emb_ln" if published else f"{prefix}embeddings.LayerNorm"
    ledger.take_pair(norm, "token_embd_norm", dims.n_embd)
    for layer in range(dims.n_layer):
        if published:
            _take_published_layer(ledger, dims, f"{prefix}encoder.layers.{layer}", f"blk.{layer}")
        else:
            _take_renamed_layer(ledger, dims, f"{prefix}layers.{layer}", f"blk.{layer}")


def _take_published_layer(ledger: TensorLedger, dims: EncoderDimensions, source: str, name: str) -> None:
    n_embd, n_ff = dims.n_embd, dims.n_ff
    ledger.take(f"{source}.attn.Wqkv.weight", f"{name}.attn_qkv.weight", (3 * n_embd, n_embd))
    ledger.take(f"{source}.attn.out_proj.weight", f"{name}.attn_output.weight", (n_embd, n_embd))
    ledger.take_pair(f"{source}.norm1", f"{name}.attn_output_norm", n_embd)
    # fc12 is what goes through the activation.
    ledger.take(f"{source}.mlp.fc11.weight", f"{name}.ffn_up.weight", (n_ff, n_embd))
    ledger.take(f"{source}.mlp.fc12.weight", f"{name}.ffn_gate.weight", (n_ff, n_embd))
    ledger.take(f"{source}.mlp.fc2.weight", f"{name}.ffn_down.weight", (n_embd, n_ff))
    ledger.take_pair(f"{source}.norm2", f"{name}.layer_output_norm", n_embd)


def _take_renamed_layer(ledger: TensorLedger, dims: EncoderDimensions, source: str, name: str) -> None:
    n_embd, n_ff = dims.n_embd, dims.n_ff
    for old, new in (("q_proj", "attn_q"), ("k_proj", "attn_k"), ("v_proj", "attn_v"), ("o_proj", "attn_output")):
        ledger.take(f"{source}.self_attn.{old}.weight", f"{name}.{new}.weight", (n_embd, n_embd))
    ledger.take_pair(f"{source}.post_attention_layernorm", f"{name}.attn_output_norm", n_embd)
    ledger.take(f"{source}.mlp.up_proj.weight", f"{name}.ffn_up.weight", (n_ff, n_embd))
    ledger.take(f"{source}.mlp.gate_proj.weight", f"{name}.ffn_gate.weight", (n_ff, n_embd))
    ledger.take(f"{source}.mlp.down_proj.weight", f"{name}.ffn_down.weight", (n_embd, n_ff))
    ledger.take_pair(f"{source}.post_mlp_layernorm", f"{name}.layer_output_norm", n_embd)
