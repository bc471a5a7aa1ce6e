"""The decoder that a checkpoint's config.json describes, as far as Edge-LLM computes it.

Rule: the exporter builds one fixed decoder for every name it does not know, and says nothing of options that it
ignores; so what is not on the lists here is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.errors import EdgecError, InputError

# Class in config.json -> the model type by which the exporter dispatches.
ARCHITECTURES: Mapping[str, str] = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}
# Of the runtime's kinds, those whose parameters are known here; it has no `linear`.
_ROPE_KINDS = ("default", "llama3", "yarn")
_ELSE = "or use `format: gguf` for this model"


@dataclass(frozen=True)
class Linear:
    """A linear layer by its Hugging Face name without `.weight`."""

    name: str
    out_features: int
    in_features: int


@dataclass(frozen=True)
class ModelShape:
    """A decoder.

    `rope`: kind of rotary embedding, with its `rope_theta` and the numbers of its scaling; `positions`: what
    config.json announces; `max_context`: how many tokens Edge-LLM computes as the source does.
    """

    model_type: str
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    rms_eps: float
    rope: str
    rope_theta: float
    rope_parameters: Mapping[str, float]
    positions: int
    max_context: int
    tied: bool
    has_qk_norm: bool

    @property
    def q_width(self) -> int:
        """Columns of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Columns of all key (or value) heads together."""
        return self.kv_heads * self.head_dim

    def layer_linears(self, layer: int) -> tuple[Linear, ...]:
        """The seven linear layers of a decoder layer: q, k, v, o, gate, up, down."""
        attention, mlp = f"model.layers.{layer}.self_attn", f"model.layers.{layer}.mlp"
        return (
            Linear(f"{attention}.q_proj", self.q_width, self.hidden),
            Linear(f"{attention}.k_proj", self.kv_width, self.hidden),
            Linear(f"{attention}.v_proj", self.kv_width, self.hidden),
            Linear(f"{attention}.o_proj", self.hidden, self.q_width),
            Linear(f"{mlp}.gate_proj", self.inner, self.hidden),
            Linear(f"{mlp}.up_proj", self.inner, self.hidden),
            Linear(f"{mlp}.down_proj", self.hidden, self.inner),
        )

    def linears(self) -> tuple[Linear, ...]:
        """The linear layers of all decoder layers."""
        return tuple(linear for layer in range(self.layers) for linear in self.layer_linears(layer))

    def vectors(self) -> Mapping[str, int]:
        """Names and lengths of the norms."""
        found = {"model.norm.weight": self.hidden}
        for layer in range(self.layers):
            at = f"model.layers.{layer}"
            found |= {f"{at}.input_layernorm.weight": self.hidden, f"{at}.post_attention_layernorm.weight": self.hidden}
            if self.has_qk_norm:
                norms = {f"{at}.self_attn.{name}_norm.weight": self.head_dim for name in ("q", "k")}
                found |= norms
        return found


def read_shape(config: Mapping[str, Any]) -> ModelShape:
    """The decoder of a config.json. Raises InputError for a model or an option that Edge-LLM does not compute."""
    model_type = _model_type(config)
    hidden, heads = _count(config, "hidden_size"), _count(config, "num_attention_heads")
    _refuse_options(config)
    return ModelShape(
        model_type=model_type,
        hidden=hidden,
        inner=_count(config, "intermediate_size"),
        layers=_count(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=_count(config, "num_key_value_heads", heads),
        head_dim=_count(config, "head_dim", hidden // heads),
        vocabulary=_count(config, "vocab_size"),
        rms_eps=float(config.get("rms_norm_eps", 1e-6)),
        rope=_rope_kind(config),
        rope_theta=float(_rope(config).get("rope_theta", config.get("rope_theta", 10000.0))),
        rope_parameters=_rope_numbers(config),
        positions=_count(config, "max_position_embeddings"),
        max_context=_max_context(config, model_type),
        tied=bool(config.get("tie_word_embeddings", False)),
        has_qk_norm=model_type == "qwen3",
    )


def wrong_config(what: str, hint: str) -> EdgecError:
    """An error about config.json."""
    return InputError.of(what, hint=hint, place="config.json")


def _model_type(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else "missing"
    if name not in ARCHITECTURES:
        shown = name[:60]
        raise wrong_config(
            f"Edge-LLM export is not supported for this architecture: {shown}",
            f"use one of {', '.join(ARCHITECTURES)}, {_ELSE}",
        )
    return ARCHITECTURES[name]


def _count(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if type(value) is not int or value <= 0:
        raise wrong_config(f"{key} is {json.dumps(value)[:40]}, but must be a positive integer", "fetch it again")
    return value


def _refuse_options(config: Mapping[str, Any]) -> None:
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise wrong_config(
            f"hidden_act is {str(activation)[:40]!r}; the exporter always writes SiLU", f"use it, {_ELSE}"
        )
    layer_types = config.get("layer_types")
    slides = isinstance(layer_types, list) and "sliding_attention" in layer_types
    if config.get("use_sliding_window") or slides:
        raise wrong_config(
            "some layers attend to a sliding window; the exporter would give the window to all layers",
            f"set use_sliding_window to false if the context stays below sliding_window, {_ELSE}",
        )
    partial = config.get("partial_rotary_factor", 1.0)
    if partial not in (None, 1, 1.0):
        raise wrong_config(f"partial_rotary_factor is {partial}, which these models do not have", _ELSE)


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("rope_parameters", "rope_scaling"):
        settings = config.get(key)
        if isinstance(settings, dict):
            return settings
    return {}


def _rope_kind(config: Mapping[str, Any]) -> str:
    settings = _rope(config)
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind not in _ROPE_KINDS:
        raise wrong_config(
            f"the rotary embedding is of kind {str(kind)[:40]!r}; Edge-LLM's runtime is known to compute "
            f"{', '.join(_ROPE_KINDS)}",
            f"remove the scaling if the shorter context is enough, {_ELSE}",
        )
    return str(kind)


def _rope_numbers(config: Mapping[str, Any]) -> Mapping[str, float]:
    """The numbers of a scaled rotary embedding, as config.json has them."""
    return {k: v for k, v in _rope(config).items() if type(v) in (int, float) and k != "rope_theta"}


def _max_context(config: Mapping[str, Any], model_type: str) -> int:
    positions = _count(config, "max_position_embeddings")
    window = config.get("sliding_window")
    # The exporter ignores Mistral's window: up to it, the computation is the same.
    if model_type == "mistral" and type(window) is int and window > 0:
        return min(positions, window)
    return positions
