"""The two spellings of Nomic BERT's config.json: its publisher's (n_embd, rotary_emb_base) and that of transformers 5.

Rule: an option of the publisher's code that transformers' class does not have must have the value that it stands for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgec.errors import InputError

# What transformers leaves out of config.json.
DEFAULTS: Mapping[str, Any] = {
    "hidden_act": "silu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 2048,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "rope_theta": 1000.0,
    "type_vocab_size": 2,
    "vocab_size": 30528,
}
# transformers' key: the publisher's key.
PUBLISHER_KEYS: Mapping[str, str] = {
    "hidden_size": "n_embd",
    "intermediate_size": "n_inner",
    "layer_norm_eps": "layer_norm_epsilon",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
    "rope_theta": "rotary_emb_base",
    "type_vocab_size": "type_vocab_size",
    "vocab_size": "vocab_size",
}
# The publisher's option, the values that are computed, and what the computation does.
FIXED: tuple[tuple[str, tuple[object, ...], str], ...] = (
    ("activation_function", ("swiglu",), "the feed-forward is SwiGLU"),
    ("causal", (False,), "the encoder looks both ways"),
    ("prenorm", (False,), "each part is normed after it"),
    ("parallel_block", (None, False), "attention runs before the feed-forward"),
    ("use_rms_norm", (None, False), "the norms are layer norms"),
    ("qkv_proj_bias", (False,), "there are no biases"),
    ("mlp_fc1_bias", (False,), "there are no biases"),
    ("mlp_fc2_bias", (False,), "there are no biases"),
    ("rotary_emb_fraction", (1.0, 1), "whole heads are rotated"),
    ("rotary_emb_interleaved", (None, False), "halves are rotated"),
    ("rotary_emb_scale_base", (None,), "the rotation is not scaled"),
    ("rotary_scaling_factor", (None,), "the rotation is not stretched"),
)


def is_published(config: Mapping[str, Any]) -> bool:
    """Whether config.json has the publisher's keys."""
    return config.get("n_embd") is not None


def respelled(config: Mapping[str, Any]) -> dict[str, Any]:
    """The publisher's numbers under transformers' keys; what is missing is left out, but for the two that follow."""
    values = {new: config[old] for new, old in PUBLISHER_KEYS.items() if config.get(old) is not None}
    values.setdefault("intermediate_size", 4 * int(config["n_embd"]))
    # The publisher's code stretches the rotation beyond this number of tokens; neither llama.cpp nor transformers does.
    trained = config.get("max_trained_positions") or 2048
    values["max_position_embeddings"] = min(int(config.get("n_positions") or trained), int(trained))
    return values


def in_one_spelling(config: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers under transformers' keys, defaults filled in, `rope_theta` at the top.

    Raises InputError for an option that is not computed.
    """
    for key in ("moe_every_n_layers", "num_experts"):
        _require(config, key, (None, 0), "mixtures of experts are not supported")
    if is_published(config):
        for key, allowed, why in FIXED:
            _require(config, key, allowed, why)
        return {**DEFAULTS, **respelled(config)}
    values = {**DEFAULTS, **{key: config[key] for key in DEFAULTS if config.get(key) is not None}}
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise _other("rope_type", kind, ("default",), "the rotation is not stretched")
    values["rope_theta"] = rope.get("rope_theta", values["rope_theta"])
    _require(values, "hidden_act", ("silu", "swish"), "the feed-forward is SwiGLU")
    return values


def _require(config: Mapping[str, Any], key: str, allowed: tuple[object, ...], why: str) -> None:
    if config.get(key) not in allowed:
        raise _other(key, config.get(key), allowed, why)


def _other(key: str, value: object, allowed: tuple[object, ...], why: str) -> InputError:
    return InputError.of(
        f"{key} is {value!r}, but must be {allowed[-1]!r}: {why}",
        place="config.json",
        hint="use a model without that option, like nomic-embed-text v1.5",
    )
