"""What a decoder computes, from its config.json and the shapes of its tensors: Llama, Mistral, Qwen2, Qwen3.

Rule: a model that the forward pass would not compute exactly is refused, with what to do, before a weight is read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.errors import EdgecError, InputError
from edgec.quantize.linears import LinearInfo, plan_weights
from edgec.source.model import CheckpointHeader, TensorInfo

# Class -> whether queries and keys are normalised per head.
_CLASSES: Mapping[str, bool] = {
    "LlamaForCausalLM": False,
    "MistralForCausalLM": False,
    "Qwen2ForCausalLM": False,
    "Qwen3ForCausalLM": True,
}
_CONFIG = "config.json"
_AGAIN = "fetch config.json again"
_BUFFERS = (".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias")
# The linears of a layer, by what they read.
ATTENTION_INPUTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
ATTENTION_OUTPUT = ("self_attn.o_proj",)
MLP_INPUTS = ("mlp.gate_proj", "mlp.up_proj")
MLP_OUTPUT = ("mlp.down_proj",)
LINEARS = (*ATTENTION_INPUTS, *ATTENTION_OUTPUT, *MLP_INPUTS, *MLP_OUTPUT)


@dataclass(frozen=True)
class Rope:
    """Rotary positions. `kind`: `default`, `linear`, `llama3`; the other numbers are those of `rope_scaling`."""

    theta: float
    kind: str = "default"
    factor: float = 1.0
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    original_context: int = 8192


@dataclass(frozen=True)
class Decoder:
    """The numbers of a decoder. `context`: tokens of which each sees all before it.

    `qk_norm`: queries and keys are normalised per head (Qwen3).
    """

    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    epsilon: float
    rope: Rope
    qk_norm: bool
    tied: bool

    @property
    def query_width(self) -> int:
        """Channels of all queries together, which o_proj reads."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Channels of all keys together."""
        return self.kv_heads * self.head_dim

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer; norms and biases are in the last term."""
        return 2 * self.width * (self.query_width + self.kv_width) + 3 * self.width * self.inner + 8 * self.width

    @property
    def parameters(self) -> int:
        """Weights of the model."""
        tables = self.vocabulary * self.width * (1 if self.tied else 2)
        return self.layers * self.layer_parameters + tables

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """Linear of a layer -> (output channels, input channels)."""
        return {
            "self_attn.q_proj": (self.query_width, self.width),
            "self_attn.k_proj": (self.kv_width, self.width),
            "self_attn.v_proj": (self.kv_width, self.width),
            "self_attn.o_proj": (self.width, self.query_width),
            "mlp.gate_proj": (self.inner, self.width),
            "mlp.up_proj": (self.inner, self.width),
            "mlp.down_proj": (self.width, self.inner),
        }

    def norms(self) -> dict[str, int]:
        """Norm of a layer -> channels."""
        heads = {"self_attn.q_norm": self.head_dim, "self_attn.k_norm": self.head_dim} if self.qk_norm else {}
        return {"input_layernorm": self.width, "post_attention_layernorm": self.width, **heads}


def plan_decoder(header: CheckpointHeader) -> Decoder:
    """Understands a checkpoint, plain or quantized. Raises InputError for what is not computed exactly."""
    decoder = read_decoder(header.config)
    _check_tensors(header, decoder)
    _check_token_ids(header.config, decoder)
    return decoder


def read_decoder(config: Mapping[str, Any]) -> Decoder:
    """Understands a config.json without its weights. Raises InputError as `plan_decoder` does."""
    decoder = _decoder(config, _class(config))
    _check_numbers(decoder)
    return decoder


def _class(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else names
    if not isinstance(name, str) or name not in _CLASSES:
        raise _config_error(
            f"architecture {str(name)[:60]!r} is not one that is quantized or compared in torch", _supported()
        )
    activation = config.get("hidden_act", "silu")
    if activation not in ("silu", "swish"):
        raise _config_error(f"hidden_act is {str(activation)[:40]!r}, but only silu is computed", _supported())
    return str(name)


def _supported() -> str:
    return f"supported: {', '.join(sorted(_CLASSES))}; other models can be quantized as GGUF"


def _decoder(config: Mapping[str, Any], name: str) -> Decoder:
    heads, width = _number(config, "num_attention_heads"), _number(config, "hidden_size")
    return Decoder(
        layers=_number(config, "num_hidden_layers"),
        width=width,
        inner=_number(config, "intermediate_size"),
        heads=heads,
        kv_heads=_number(config, "num_key_value_heads", heads),
        head_dim=_number(config, "head_dim", width // heads),
        vocabulary=_number(config, "vocab_size"),
        context=_context(config),
        epsilon=_positive(config, "rms_norm_eps", 1e-6),
        rope=_rope(config),
        qk_norm=_CLASSES[name],
        tied=_flag(config, "tie_word_embeddings"),
    )


def _number(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    value = default if value is None else value
    if type(value) is not int or value < 1:
        raise _config_error(f"{key} is {_shown(value)}, but must be a positive integer", _AGAIN)
    return value


def _positive(settings: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        stands = "missing" if value is None else _shown(value)
        raise _config_error(f"{key} is {stands}, but must be a positive number", _AGAIN)
    return float(value)


def _flag(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key)
    if value is not None and not isinstance(value, bool):
        raise _config_error(f"{key} is {_shown(value)}, but must be true or false", _AGAIN)
    return bool(value)


def _shown(value: object) -> str:
    return json.dumps(value)[:40]


def _context(config: Mapping[str, Any]) -> int:
    """Tokens over which every token sees all before it: with a sliding window, those of the window."""
    context = _number(config, "max_position_embeddings")
    window = config.get("sliding_window")
    if isinstance(window, int) and window > 0 and config.get("use_sliding_window", True):
        return min(context, window)
    return context


def _rope(config: Mapping[str, Any]) -> Rope:
    # Since version 5, transformers writes one object `rope_parameters` instead of rope_theta and rope_scaling.
    settings = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(settings, dict):
        raise _config_error(f"rope_scaling is {_shown(settings)}, but must be an object", _AGAIN)
    theta = _positive(settings if "rope_theta" in settings else config, "rope_theta", 10000.0)
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind not in ("default", "linear", "llama3"):
        raise _config_error(
            f"rope type {str(kind)[:40]!r} is not computed", "supported: default, linear and llama3; or take a GGUF"
        )
    if kind == "default":
        return Rope(theta)
    if kind == "linear":
        return Rope(theta, kind, _positive(settings, "factor"))
    return Rope(
        theta,
        kind,
        _positive(settings, "factor"),
        _positive(settings, "low_freq_factor"),
        _positive(settings, "high_freq_factor"),
        _number(settings, "original_max_position_embeddings"),
    )


def _check_numbers(decoder: Decoder) -> None:
    if decoder.heads % decoder.kv_heads:
        raise _config_error(
            f"{decoder.heads} attention heads cannot share {decoder.kv_heads} key-value heads evenly",
            "check that config.json belongs to these weights",
        )
    if decoder.head_dim % 2:
        raise _config_error(
            f"the heads are {decoder.head_dim} wide, and rotary positions need an even width",
            "check hidden_size, num_attention_heads and head_dim in config.json",
        )


def _check_token_ids(config: Mapping[str, Any], decoder: Decoder) -> None:
    """A model whose end is a token that it does not have never ends."""
    for key in ("bos_token_id", "eos_token_id"):
        value = config.get(key)
        for token in value if isinstance(value, list) else [value]:
            if token is not None and (type(token) is not int or not 0 <= token < decoder.vocabulary):
                raise _config_error(
                    f"{key} is {_shown(value)}, and the vocabulary has {decoder.vocabulary} tokens, from 0 on",
                    "compare with the config.json of the model's publisher",
                )


def _check_tensors(header: CheckpointHeader, decoder: Decoder) -> None:
    linears = plan_weights(header)
    if header.quantization is not None and all(linear.bits is None for linear in linears.values()):
        raise _config_error(
            f"quantization_config says {header.quantization.layout}, and no weight is quantized",
            "remove quantization_config to compile these weights, or fetch the quantized ones",
        )
    known: set[str] = set()
    for name, shape in (*_linear_shapes(decoder), *_other_linears(decoder)):
        _check_linear(linears.get(name), name, shape)
        known.add(name)
    for name, channels in vector_shapes(decoder).items():
        _check_shape(header.tensors.get(f"{name}.weight"), f"{name}.weight", channels)
        known.add(name)
    for tensor in header.tensors.values():
        name = tensor.name.rpartition(".")[0]
        if name not in known and name != "lm_head" and not tensor.name.endswith(_BUFFERS):
            raise InputError.of(
                "is not a tensor of this architecture, so the model would not compute what it did",
                hint=_supported(),
                place=f"{tensor.file}: tensor '{tensor.name}'",
            )


def _linear_shapes(decoder: Decoder) -> list[tuple[str, tuple[int, int]]]:
    shapes = decoder.linear_shapes().items()
    return [(f"model.layers.{i}.{name}", shape) for i in range(decoder.layers) for name, shape in shapes]


def _other_linears(decoder: Decoder) -> list[tuple[str, tuple[int, int]]]:
    return [] if decoder.tied else [("lm_head", (decoder.vocabulary, decoder.width))]


def vector_shapes(decoder: Decoder) -> dict[str, tuple[int, ...]]:
    """What is not a linear, by name without `.weight`: the embedding and all norms."""
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens": (decoder.vocabulary, decoder.width)}
    for i in range(decoder.layers):
        shapes |= {f"model.layers.{i}.{name}": (channels,) for name, channels in decoder.norms().items()}
    return shapes | {"model.norm": (decoder.width,)}


def _check_linear(info: LinearInfo | None, name: str, shape: tuple[int, int]) -> None:
    if info is None:
        raise _missing(f"{name}.weight")
    if (info.out_features, info.in_features) != shape:
        raise _shape_error(name, (info.out_features, info.in_features), shape)


def _check_shape(tensor: TensorInfo | None, name: str, shape: tuple[int, ...]) -> None:
    if tensor is None:
        raise _missing(name)
    if tensor.shape != shape:
        raise _shape_error(name, tensor.shape, shape)


def _missing(name: str) -> EdgecError:
    return InputError.of(
        f"the checkpoint has no tensor '{name}'",
        hint="check that all weight files were downloaded and that config.json belongs to them",
    )


def _shape_error(name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> EdgecError:
    return InputError.of(
        f"has the shape {list(found)}, and config.json makes it {list(shape)}",
        hint="check num_attention_heads, num_key_value_heads, head_dim, vocab_size and the widths in config.json",
        place=f"tensor '{name}'",
    )


def _config_error(message: str, hint: str) -> EdgecError:
    return InputError.of(message, hint=hint, place=_CONFIG)
