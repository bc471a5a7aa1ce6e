"""What the pre-norm decoders (Llama, Mistral, Qwen, Gemma, Phi) have in common: sizes, embeddings, attention, MLP."""

from __future__ import annotations

from dataclasses import dataclass

from ....errors import InputError
from ..model import MappedModel, ModelShape
from .config import Config
from .metadata import MetadataWriter
from .tensors import Ignored, TensorLedger


@dataclass(frozen=True)
class Dimensions:
    """Sizes of a decoder (elements, tokens)."""

    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_vocab: int
    context_length: int
    norm_epsilon: float


def read_dimensions(config: Config, *, norm_epsilon: float, default_context: int = 2048) -> Dimensions:
    """The sizes in config.json; the defaults are those of the model's class in transformers."""
    n_embd, n_head = config.integer("hidden_size"), config.integer("num_attention_heads")
    n_head_kv = config.integer("num_key_value_heads", default=n_head)
    if n_head % n_head_kv:
        raise config.wrong("num_key_value_heads", f"a divisor of num_attention_heads ({n_head})")
    head_dim = config.optional_integer("head_dim")
    if head_dim is None:
        if n_embd % n_head:
            raise config.wrong("hidden_size", f"a multiple of num_attention_heads ({n_head})")
        head_dim = n_embd // n_head
    if head_dim % 2:
        raise InputError.of(
            f"the heads are {head_dim} wide, but rotary embeddings need an even width",
            place=config.place,
            hint="check hidden_size, num_attention_heads and head_dim",
        )
    return Dimensions(
        n_layer=config.integer("num_hidden_layers"),
        n_embd=n_embd,
        n_ff=config.integer("intermediate_size"),
        n_head=n_head,
        n_head_kv=n_head_kv,
        head_dim=head_dim,
        n_vocab=config.integer("vocab_size"),
        context_length=config.integer("max_position_embeddings", default=default_context),
        norm_epsilon=config.number("rms_norm_eps", default=norm_epsilon),
    )


def write_dimensions(dims: Dimensions, metadata: MetadataWriter, *, explicit_head_dim: bool) -> None:
    """Writes the sizes; the widths of a head only where config.json states them, as llama.cpp's converter does."""
    metadata.integer("block_count", dims.n_layer)
    metadata.integer("context_length", dims.context_length)
    metadata.integer("embedding_length", dims.n_embd)
    metadata.integer("feed_forward_length", dims.n_ff)
    metadata.integer("attention.head_count", dims.n_head)
    metadata.integer("attention.head_count_kv", dims.n_head_kv)
    metadata.number("attention.layer_norm_rms_epsilon", dims.norm_epsilon)
    if explicit_head_dim or dims.head_dim * dims.n_head != dims.n_embd:
        metadata.integer("attention.key_length", dims.head_dim)
        metadata.integer("attention.value_length", dims.head_dim)


def take_embeddings(
    ledger: TensorLedger, dims: Dimensions, *, tied: bool, rows: int | None = None, norm_add: float = 0.0
) -> None:
    """The token embedding, the output matrix unless it is the same, and the last norm."""
    vocab = (dims.n_vocab, dims.n_embd)
    ledger.take("model.embed_tokens.weight", "token_embd.weight", vocab, rows=rows)
    ledger.take("model.norm.weight", "output_norm.weight", (dims.n_embd,), add=norm_add)
    if tied:
        ledger.ignore(Ignored(r"lm_head\.weight", "the same matrix as the token embedding"))
    else:
        ledger.take("lm_head.weight", "output.weight", vocab, rows=rows)


def attend_and_feed(ledger: TensorLedger, dims: Dimensions, layer: int, *, interleave: bool) -> None:
    """One layer's two norms, separate attention projections and gated MLP.

    `interleave`: the architecture's rope takes neighbouring pairs, so rows of q and k are reordered.
    """
    source, name = f"model.layers.{layer}", f"blk.{layer}"
    q, kv = dims.n_head * dims.head_dim, dims.n_head_kv * dims.head_dim
    heads, heads_kv = (dims.n_head, dims.n_head_kv) if interleave else (None, None)
    ledger.take(f"{source}.input_layernorm.weight", f"{name}.attn_norm.weight", (dims.n_embd,))
    ledger.take(f"{source}.self_attn.q_proj.weight", f"{name}.attn_q.weight", (q, dims.n_embd), unpermute_heads=heads)
    ledger.take(
        f"{source}.self_attn.k_proj.weight", f"{name}.attn_k.weight", (kv, dims.n_embd), unpermute_heads=heads_kv
    )
    ledger.take(f"{source}.self_attn.v_proj.weight", f"{name}.attn_v.weight", (kv, dims.n_embd))
    ledger.take(f"{source}.self_attn.o_proj.weight", f"{name}.attn_output.weight", (dims.n_embd, q))
    ledger.take(f"{source}.post_attention_layernorm.weight", f"{name}.ffn_norm.weight", (dims.n_embd,))
    ledger.take(f"{source}.mlp.gate_proj.weight", f"{name}.ffn_gate.weight", (dims.n_ff, dims.n_embd))
    ledger.take(f"{source}.mlp.up_proj.weight", f"{name}.ffn_up.weight", (dims.n_ff, dims.n_embd))
    ledger.take(f"{source}.mlp.down_proj.weight", f"{name}.ffn_down.weight", (dims.n_embd, dims.n_ff))


def finish(
    arch: str, dims: Dimensions, metadata: MetadataWriter, ledger: TensorLedger, notes: tuple[str, ...] = ()
) -> MappedModel:
    """Closes the ledger and puts the decoder together."""
    shape = ModelShape(
        n_layer=dims.n_layer,
        n_embd=dims.n_embd,
        n_ff=dims.n_ff,
        n_head=dims.n_head,
        n_head_kv=dims.n_head_kv,
        head_dim_k=dims.head_dim,
        head_dim_v=dims.head_dim,
        n_vocab=dims.n_vocab,
        context_length=dims.context_length,
    )
    return MappedModel(arch, "decoder", shape, metadata.entries(), ledger.close(), notes)
