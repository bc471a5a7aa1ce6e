"""What the pre-norm decoders (Llama, Mistral, Qwen, Gemma, Phi) have in common: sizes, embeddings, attention, MLP."""

from __future__ import annotations

from dataclasses import dataclass

from edgec.errors import InputError
from edgec.formats.gguf.architectures.config import Config
from edgec.formats.gguf.architectures.metadata import MetadataWriter
from edgec.formats.gguf.architectures.tensors import ROTARY_BUFFERS, Ignored, TensorLedger
from edgec.formats.gguf.model import ModelShape

SILU = ("silu", "swish")


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

    @property
    def n_q(self) -> int:
        """Width of all query heads."""
        return self.n_head * self.head_dim

    @property
    def n_kv(self) -> int:
        """Width of all key heads, and of all value heads."""
        return self.n_head_kv * self.head_dim


def read_dimensions(config: Config) -> Dimensions:
    """The sizes in config.json."""
    n_embd, n_head = config.integer("hidden_size"), config.integer("num_attention_heads")
    n_head_kv = config.optional_integer("num_key_value_heads") or n_head
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
        context_length=config.integer("max_position_embeddings"),
        norm_epsilon=config.number("rms_norm_eps"),
    )


def require_square_attention(config: Config, dims: Dimensions) -> None:
    """Refuses heads that are together wider or narrower than the model, for architectures that cannot have them."""
    if dims.n_q != dims.n_embd:
        raise config.wrong("head_dim", f"{dims.n_embd} / {dims.n_head}: llama.cpp has no other width here")


def write_dimensions(dims: Dimensions, metadata: MetadataWriter, *, head_widths: bool) -> None:
    """Writes the sizes; `head_widths` also where they follow from the others."""
    metadata.integer("block_count", dims.n_layer)
    metadata.integer("context_length", dims.context_length)
    metadata.integer("embedding_length", dims.n_embd)
    metadata.integer("feed_forward_length", dims.n_ff)
    metadata.integer("attention.head_count", dims.n_head)
    metadata.integer("attention.head_count_kv", dims.n_head_kv)
    metadata.number("attention.layer_norm_rms_epsilon", dims.norm_epsilon)
    if head_widths:
        metadata.integer("attention.key_length", dims.head_dim)
        metadata.integer("attention.value_length", dims.head_dim)


def take_ends(ledger: TensorLedger, dims: Dimensions, *, tied: bool) -> None:
    """The token embedding, the last norm, the output matrix unless it is the embedding again; drops rotary buffers."""
    vocab = (dims.n_vocab, dims.n_embd)
    ledger.take("model.embed_tokens.weight", "token_embd.weight", vocab)
    ledger.take("model.norm.weight", "output_norm.weight", (dims.n_embd,))
    if tied:
        ledger.ignore(Ignored(r"lm_head\.weight", "the same matrix as the token embedding"))
    else:
        ledger.take("lm_head.weight", "output.weight", vocab)
    ledger.ignore(ROTARY_BUFFERS)


def take_block(ledger: TensorLedger, dims: Dimensions, layer: int, *, interleave: bool = False) -> None:
    """One layer's two norms, its four attention matrices and its gated MLP.

    `interleave`: this architecture rotates neighbouring pairs, so rows of q and k are reordered.
    """
    source, name = f"model.layers.{layer}", f"blk.{layer}"
    n_embd, n_ff = dims.n_embd, dims.n_ff
    heads, heads_kv = (dims.n_head, dims.n_head_kv) if interleave else (None, None)
    ledger.take(f"{source}.input_layernorm.weight", f"{name}.attn_norm.weight", (n_embd,))
    attn = f"{source}.self_attn"
    ledger.take(f"{attn}.q_proj.weight", f"{name}.attn_q.weight", (dims.n_q, n_embd), unpermute_heads=heads)
    ledger.take(f"{attn}.k_proj.weight", f"{name}.attn_k.weight", (dims.n_kv, n_embd), unpermute_heads=heads_kv)
    ledger.take(f"{attn}.v_proj.weight", f"{name}.attn_v.weight", (dims.n_kv, n_embd))
    ledger.take(f"{attn}.o_proj.weight", f"{name}.attn_output.weight", (n_embd, dims.n_q))
    ledger.take(f"{source}.post_attention_layernorm.weight", f"{name}.ffn_norm.weight", (n_embd,))
    take_gated_mlp(ledger, source, name, n_embd, n_ff)


def take_gated_mlp(ledger: TensorLedger, source: str, name: str, n_embd: int, n_ff: int) -> None:
    """The matrices of a gated MLP of layer `source`."""
    ledger.take(f"{source}.mlp.gate_proj.weight", f"{name}.ffn_gate.weight", (n_ff, n_embd))
    ledger.take(f"{source}.mlp.up_proj.weight", f"{name}.ffn_up.weight", (n_ff, n_embd))
    ledger.take(f"{source}.mlp.down_proj.weight", f"{name}.ffn_down.weight", (n_embd, n_ff))


def model_shape(
    dims: Dimensions, *, sliding_window: int | None = None, n_full_attention_layers: int | None = None
) -> ModelShape:
    """The sizes as the predictors want them."""
    return ModelShape(
        n_layer=dims.n_layer,
        n_embd=dims.n_embd,
        n_ff=dims.n_ff,
        n_head=dims.n_head,
        n_head_kv=dims.n_head_kv,
        head_dim_k=dims.head_dim,
        head_dim_v=dims.head_dim,
        n_vocab=dims.n_vocab,
        context_length=dims.context_length,
        sliding_window=sliding_window,
        n_full_attention_layers=n_full_attention_layers,
    )
