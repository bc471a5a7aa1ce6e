"""BERT, its sentence-transformers (MiniLM, BGE, E5, ...) and its cross-encoders -> `bert`."""

from __future__ import annotations

from edgec.errors import InputError
from edgec.formats.gguf.architectures.architecture import Request, finish
from edgec.formats.gguf.architectures.config import Config
from edgec.formats.gguf.architectures.encoder import UNUSED, EncoderDimensions, write_encoder, write_pooling_or_note
from edgec.formats.gguf.architectures.metadata import MetadataWriter
from edgec.formats.gguf.architectures.pooling import RANK
from edgec.formats.gguf.architectures.tensors import TensorLedger
from edgec.formats.gguf.model import MappedModel

_DEFAULTS = {
    "hidden_act": "gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "position_embedding_type": "absolute",
    "type_vocab_size": 2,
    "vocab_size": 30522,
}


def map_bert(request: Request) -> MappedModel:
    """Maps the encoder of a BERT; heads for pre-training are left out."""
    config = request.config.with_defaults(_DEFAULTS)
    ledger = TensorLedger(request.header.tensors)
    metadata = MetadataWriter("bert")
    dims = _take_encoder(config, ledger, metadata)
    notes = write_pooling_or_note(request.header, metadata)
    ledger.ignore(*UNUSED)
    return finish(request, metadata, ledger, dims.model_shape(), kind="encoder", notes=notes)


def map_bert_reranker(request: Request) -> MappedModel:
    """Maps a cross-encoder: a BERT whose pooler and classifier give one score for a query and a document."""
    config = request.config.with_defaults(_DEFAULTS)
    _require_score(config)
    ledger = TensorLedger(request.header.tensors)
    metadata = MetadataWriter("bert")
    dims = _take_encoder(config, ledger, metadata)
    metadata.integer("pooling_type", RANK)
    n_embd = dims.n_embd
    ledger.take("bert.pooler.dense.weight", "cls.weight", (n_embd, n_embd))
    ledger.take("bert.pooler.dense.bias", "cls.bias", (n_embd,))
    # One row: quantizing it would save nothing.
    ledger.take("classifier.weight", "cls.output.weight", (1, n_embd), fixed_type="f32")
    ledger.take("classifier.bias", "cls.output.bias", (1,))
    ledger.ignore(*UNUSED)
    return finish(request, metadata, ledger, dims.model_shape(), kind="reranker")


def _require_score(config: Config) -> None:
    """Refuses what llama.cpp would load and score wrongly."""
    labels = config.get("id2label")
    count = len(labels) if isinstance(labels, dict) else config.get("num_labels") or 2
    if count != 1:
        raise InputError.of(
            f"the classifier has {count} labels, but a reranker has one: its score",
            place=config.place,
            hint="use a cross-encoder with one label; llama.cpp serves no other classifiers",
        )
    if config.integer("type_vocab_size") != 1:
        raise InputError.of(
            "the model tells query and document apart by token types (type_vocab_size is not 1), and llama.cpp gives "
            "every token the type 0: its scores would be wrong",
            place=config.place,
            hint="use a reranker without token types",
        )


def _take_encoder(config: Config, ledger: TensorLedger, metadata: MetadataWriter) -> EncoderDimensions:
    config.require("hidden_act", ("gelu", "gelu_new", "gelu_pytorch_tanh"), "llama.cpp computes tanh GELU here")
    config.require("position_embedding_type", ("absolute",), "llama.cpp adds positions to the embeddings")
    config.require("is_decoder", (False, None), "llama.cpp's bert looks both ways")
    config.require("add_cross_attention", (False, None), "llama.cpp's bert has no cross attention")
    dims = _read_dimensions(config)
    write_encoder(dims, metadata)
    prefix = "bert." if "bert.embeddings.word_embeddings.weight" in ledger else ""
    _take_embeddings(ledger, dims, f"{prefix}embeddings")
    for layer in range(dims.n_layer):
        _take_layer(ledger, dims, f"{prefix}encoder.layer.{layer}", f"blk.{layer}")
    return dims


def _read_dimensions(config: Config) -> EncoderDimensions:
    n_embd, n_head = config.integer("hidden_size"), config.integer("num_attention_heads")
    if n_embd % n_head:
        raise config.wrong("hidden_size", f"a multiple of num_attention_heads ({n_head})")
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


def _take_embeddings(ledger: TensorLedger, dims: EncoderDimensions, source: str) -> None:
    n_embd = dims.n_embd
    ledger.take(f"{source}.word_embeddings.weight", "token_embd.weight", (dims.n_vocab, n_embd))
    positions = (dims.context_length, n_embd)
    ledger.take(f"{source}.position_embeddings.weight", "position_embd.weight", positions, fixed_type="f32")
    ledger.take(
        f"{source}.token_type_embeddings.weight", "token_types.weight", (dims.n_types, n_embd), fixed_type="f32"
    )
    _take_norm(ledger, f"{source}.LayerNorm", "token_embd_norm", n_embd)


def _take_layer(ledger: TensorLedger, dims: EncoderDimensions, source: str, name: str) -> None:
    n_embd, n_ff = dims.n_embd, dims.n_ff
    attention = f"{source}.attention"
    matrices = (
        (f"{attention}.self.query", "attn_q", n_embd, n_embd),
        (f"{attention}.self.key", "attn_k", n_embd, n_embd),
        (f"{attention}.self.value", "attn_v", n_embd, n_embd),
        (f"{attention}.output.dense", "attn_output", n_embd, n_embd),
        (f"{source}.intermediate.dense", "ffn_up", n_ff, n_embd),
        (f"{source}.output.dense", "ffn_down", n_embd, n_ff),
    )
    for old, new, n_out, n_in in matrices:
        ledger.take(f"{old}.weight", f"{name}.{new}.weight", (n_out, n_in))
        ledger.take(f"{old}.bias", f"{name}.{new}.bias", (n_out,))
    _take_norm(ledger, f"{attention}.output.LayerNorm", f"{name}.attn_output_norm", n_embd)
    _take_norm(ledger, f"{source}.output.LayerNorm", f"{name}.layer_output_norm", n_embd)


def _take_norm(ledger: TensorLedger, source: str, name: str, n_embd: int) -> None:
    """BERTs converted from TensorFlow call weight and bias gamma and beta."""
    weight, bias = ("gamma", "beta") if f"{source}.gamma" in ledger else ("weight", "bias")
    ledger.take_pair(source, name, n_embd, weight=weight, bias=bias)
