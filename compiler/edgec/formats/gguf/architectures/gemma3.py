"""Gemma 3: `Gemma3ForCausalLM`, and the text part of `Gemma3ForConditionalGeneration` -> `gemma3`."""

from __future__ import annotations

from dataclasses import replace

from edgec.errors import InputError
from edgec.formats.gguf.architectures.architecture import Request, finish
from edgec.formats.gguf.architectures.config import Config
from edgec.formats.gguf.architectures.decoder import (
    Dimensions,
    model_shape,
    read_dimensions,
    take_gated_mlp,
    write_dimensions,
)
from edgec.formats.gguf.architectures.files import read_object
from edgec.formats.gguf.architectures.metadata import MetadataWriter
from edgec.formats.gguf.architectures.rope import make_rope, require_whole, write_rope
from edgec.formats.gguf.architectures.tensors import ROTARY_BUFFERS, Ignored, TensorLedger
from edgec.formats.gguf.architectures.window import layer_kinds
from edgec.formats.gguf.model import MappedModel
from edgec.source.model import CheckpointHeader

_DEFAULTS = {
    "attention_bias": False,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "max_position_embeddings": 131072,
    "num_attention_heads": 8,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-6,
    "rope_local_base_freq": 10000.0,
    "rope_theta": 1000000.0,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "tie_word_embeddings": True,
    "use_bidirectional_attention": False,
    "vocab_size": 262208,
}
_VISION = Ignored(
    r"(model\.)?(vision_tower|multi_modal_projector)\..*", "the image part; this artifact is the language model"
)
_TIED = Ignored(r"(language_model\.)?lm_head\.weight", "the same matrix as the token embedding")
# Where the decoder's tensors stand: text checkpoints, image checkpoints of transformers 5 and of 4.
_BODIES = ("model.", "model.language_model.", "language_model.model.")
# llama.cpp's own pattern: every sixth layer attends to the whole context.
_USUAL_PATTERN = 6
_LAYERS_27B = 62


def map_gemma3(request: Request) -> MappedModel:
    """Maps the decoder of a Gemma 3."""
    config = (request.config.section("text_config") or request.config).with_defaults(_DEFAULTS)
    dims = read_dimensions(config)
    _refuse_variants(config, dims)
    full = _full_layers(config, dims.n_layer)
    window = config.integer("sliding_window") if len(full) < dims.n_layer else None

    metadata = MetadataWriter("gemma3")
    write_dimensions(dims, metadata, head_widths=True)
    _write_ropes(config, metadata)
    if window is not None:
        _write_window(metadata, window, full, dims.n_layer)
    if (cap := config.optional_number("final_logit_softcapping")) is not None:
        metadata.number("final_logit_softcapping", cap)

    ledger = TensorLedger(request.header.tensors)
    rows = _rows(request.header, dims.n_vocab)
    _take_tensors(ledger, dims, rows, tied=config.flag("tie_word_embeddings"))
    notes = () if rows == dims.n_vocab else (f"{dims.n_vocab - rows} embedding rows without a token are left out",)
    shape = model_shape(
        replace(dims, n_vocab=rows),
        sliding_window=window,
        n_full_attention_layers=None if window is None else len(full),
    )
    return finish(request, metadata, ledger, shape, notes=notes)


def _refuse_variants(config: Config, dims: Dimensions) -> None:
    config.require("hidden_activation", ("gelu_pytorch_tanh",), "llama.cpp computes tanh GELU here")
    config.require("attention_bias", (False,), "llama.cpp's gemma3 has no biases")
    config.require("attn_logit_softcapping", (None,), "llama.cpp's gemma3 does not cap attention")
    config.require("use_bidirectional_attention", (False, None), "this is an embedding model of another architecture")
    # llama.cpp knows the 27B model by its number of layers, and scales attention by the head's width in all others.
    scale = dims.n_embd // dims.n_head if dims.n_layer == _LAYERS_27B else dims.head_dim
    if config.number("query_pre_attn_scalar") != scale:
        raise config.wrong("query_pre_attn_scalar", f"{scale}: llama.cpp scales attention by it")


def _full_layers(config: Config, n_layer: int) -> tuple[int, ...]:
    """The layers that attend to the whole context."""
    if config.get("layer_types") is not None:
        kinds = layer_kinds(config, n_layer)
        return tuple(i for i, kind in enumerate(kinds) if kind == "full_attention")
    pattern = config.integer("sliding_window_pattern")
    return tuple(i for i in range(n_layer) if (i + 1) % pattern == 0)


def _write_ropes(config: Config, metadata: MetadataWriter) -> None:
    """Full layers may be stretched linearly; sliding layers have a base of their own and are never stretched."""
    nested = config.section("rope_parameters") or Config({}, config.place)
    full = nested.section("full_attention") or config.section("rope_scaling") or nested
    sliding = nested.section("sliding_attention") or Config({}, nested.place)
    theta = full.optional_number("rope_theta") or config.number("rope_theta")
    local = sliding.optional_number("rope_theta") or config.number("rope_local_base_freq")
    for scaling, base, kinds in ((full, theta, ("default", "linear")), (sliding, local, ("default",))):
        require_whole(make_rope(config, scaling, base, kinds))
    write_rope(make_rope(config, full, theta, ("default", "linear")), metadata)
    metadata.number("rope.freq_base_swa", local)


def _write_window(metadata: MetadataWriter, window: int, full: tuple[int, ...], n_layer: int) -> None:
    metadata.integer("attention.sliding_window", window)
    if full != tuple(range(_USUAL_PATTERN - 1, n_layer, _USUAL_PATTERN)):
        metadata.flags("attention.sliding_window_pattern", tuple(i not in full for i in range(n_layer)))


def _rows(header: CheckpointHeader, n_vocab: int) -> int:
    """Rows of the embedding that have a token: the matrix is padded, and padding could only be sampled by mistake."""
    tokenizer = read_object(header, "tokenizer.json")
    if tokenizer is None:
        return n_vocab
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    ids = list(vocab.values()) if isinstance(vocab, dict) else []
    ids += [token.get("id") for token in added if isinstance(token, dict)] if isinstance(added, list) else []
    if not ids or not all(isinstance(i, int) for i in ids):
        raise InputError.of(
            "model.vocab or added_tokens is missing or damaged",
            place="tokenizer.json",
            hint="download the tokenizer again",
        )
    last: int = max(ids)
    return min(n_vocab, last + 1)


def _take_tensors(ledger: TensorLedger, dims: Dimensions, rows: int, *, tied: bool) -> None:
    body = next((b for b in _BODIES if f"{b}embed_tokens.weight" in ledger), _BODIES[0])
    head = "language_model.lm_head.weight" if body == _BODIES[2] else "lm_head.weight"
    vocab, cut = (dims.n_vocab, dims.n_embd), rows if rows < dims.n_vocab else None
    ledger.take(f"{body}embed_tokens.weight", "token_embd.weight", vocab, rows=cut)
    # Gemma multiplies by 1 + weight, llama.cpp by the weight.
    ledger.take(f"{body}norm.weight", "output_norm.weight", (dims.n_embd,), add=1.0)
    if not tied:
        ledger.take(head, "output.weight", vocab, rows=cut)
    for layer in range(dims.n_layer):
        _take_layer(ledger, dims, f"{body}layers.{layer}", f"blk.{layer}")
    ledger.ignore(ROTARY_BUFFERS, _VISION, *((_TIED,) if tied else ()))


def _take_layer(ledger: TensorLedger, dims: Dimensions, source: str, name: str) -> None:
    n_embd, attn = dims.n_embd, f"{source}.self_attn"
    norms = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "post_attention_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    }
    for old, new in norms.items():
        ledger.take(f"{source}.{old}.weight", f"{name}.{new}.weight", (n_embd,), add=1.0)
    ledger.take(f"{attn}.q_norm.weight", f"{name}.attn_q_norm.weight", (dims.head_dim,), add=1.0)
    ledger.take(f"{attn}.k_norm.weight", f"{name}.attn_k_norm.weight", (dims.head_dim,), add=1.0)
    ledger.take(f"{attn}.q_proj.weight", f"{name}.attn_q.weight", (dims.n_q, n_embd))
    ledger.take(f"{attn}.k_proj.weight", f"{name}.attn_k.weight", (dims.n_kv, n_embd))
    ledger.take(f"{attn}.v_proj.weight", f"{name}.attn_v.weight", (dims.n_kv, n_embd))
    ledger.take(f"{attn}.o_proj.weight", f"{name}.attn_output.weight", (n_embd, dims.n_q))
    take_gated_mlp(ledger, source, name, n_embd, dims.n_ff)
