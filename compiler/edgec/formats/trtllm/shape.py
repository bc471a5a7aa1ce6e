"""The shape of a decoder as TensorRT-LLM needs to know it, read from Hugging Face's config.json.

Rule: what the engine would compute differently from transformers is refused, not passed on; nothing is guessed that
config.json or its model class does not say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.errors import EdgecError, InputError
from edgec.formats.trtllm.rope import Rope, read_rope

_PLACE = "config.json"
_DAMAGED = "compare with the config.json of the model's publisher; the file may be damaged or edited"
# Heads that the generation kernel was compiled for: decoderMaskedMultiheadAttention.cu.
_HEAD_SIZES = (32, 48, 64, 80, 96, 104, 112, 128, 144, 160, 192, 224, 256)
# Hugging Face's architecture -> TensorRT-LLM's, and `qwen_type`. Mistral is a Llama there.
_ARCHITECTURES: Mapping[str, tuple[str, str | None]] = {
    "LlamaForCausalLM": ("LlamaForCausalLM", None),
    "MistralForCausalLM": ("LlamaForCausalLM", None),
    "Qwen2ForCausalLM": ("Qwen2ForCausalLM", "qwen2"),
}
# What transformers leaves out of config.json when it is the default of the model's class.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "LlamaForCausalLM": {"max_position_embeddings": 2048},
    "MistralForCausalLM": {"max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
    "Qwen2ForCausalLM": {"max_position_embeddings": 32768, "num_key_value_heads": 32, "sliding_window": 4096},
}
_COMMON_DEFAULTS: Mapping[str, Any] = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10_000.0}


@dataclass(frozen=True)
class DecoderShape:
    """`window`: tokens that attention looks back, None for all: contexts beyond it are not built."""

    architecture: str
    qwen_type: str | None
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    epsilon: float
    positions: int
    rope: Rope
    tied: bool
    window: int | None

    @property
    def qkv_rows(self) -> tuple[int, int, int]:
        """Output channels of the query, key and value projections."""
        return self.heads * self.head_size, self.kv_heads * self.head_size, self.kv_heads * self.head_size

    @property
    def kv_elements_per_token(self) -> int:
        """Numbers in the KV cache for one token of one sequence."""
        return 2 * self.layers * self.kv_heads * self.head_size


def read_shape(stated: Mapping[str, Any]) -> DecoderShape:
    """The shape that config.json describes. Raises InputError with what to do for a model the backend cannot take."""
    name = _architecture(stated)
    architecture, qwen_type = _ARCHITECTURES[name]
    config = {**_COMMON_DEFAULTS, **_DEFAULTS[name], **stated}
    if config["hidden_act"] not in ("silu", "swish"):
        raise _refused("hidden_act", config["hidden_act"], "only silu is built", "choose a model of the Llama family")
    hidden, heads = _integer(config, "hidden_size"), _integer(config, "num_attention_heads")
    kv_heads = heads if config.get("num_key_value_heads") is None else _integer(config, "num_key_value_heads")
    return DecoderShape(
        architecture=architecture,
        qwen_type=qwen_type,
        layers=_integer(config, "num_hidden_layers"),
        hidden=hidden,
        intermediate=_integer(config, "intermediate_size"),
        heads=heads,
        kv_heads=_checked_kv_heads(heads, kv_heads),
        head_size=_head_size(config, hidden, heads),
        vocabulary=_integer(config, "vocab_size"),
        epsilon=_number(config, "rms_norm_eps"),
        positions=_integer(config, "max_position_embeddings"),
        rope=read_rope(config),
        tied=bool(config.get("tie_word_embeddings", False)),
        window=_window(config, qwen_type),
    )


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
    if name is None or name not in _ARCHITECTURES:
        raise InputError.of(
            f"TensorRT-LLM checkpoints of {name or 'a model without `architectures`'} are not written; "
            f"those of {', '.join(_ARCHITECTURES)} are",
            place=_PLACE,
            hint="choose another format (`gguf`, or `edgellm` on an Orin), or a model of these architectures",
        )
    return name


def _checked_kv_heads(heads: int, kv_heads: int) -> int:
    if heads % kv_heads:
        raise _refused(
            "num_key_value_heads",
            kv_heads,
            f"it does not divide the {heads} attention heads, and the engine's groups of heads are equal",
            _DAMAGED,
        )
    return kv_heads


def _head_size(config: Mapping[str, Any], hidden: int, heads: int) -> int:
    stated = config.get("head_dim")
    if stated is None and hidden % heads:
        raise _refused("num_attention_heads", heads, f"it does not divide hidden_size, {hidden}", _DAMAGED)
    size = _integer(config, "head_dim") if stated is not None else hidden // heads
    if size not in _HEAD_SIZES:
        raise InputError.of(
            f"heads of {size} elements have no kernel in TensorRT-LLM; those of {', '.join(map(str, _HEAD_SIZES))} do",
            place=_PLACE,
            hint="choose another format for this model: `gguf` takes any head",
        )
    return size


def _window(config: Mapping[str, Any], qwen_type: str | None) -> int | None:
    """Qwen2 names a window that it uses only when `use_sliding_window` says so."""
    if config.get("sliding_window") is None or (qwen_type is not None and not config.get("use_sliding_window", False)):
        return None
    return _integer(config, "sliding_window")


def _integer(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if type(value) is not int or value <= 0:
        raise _wrong(key, value, "a positive integer")
    return value


def _number(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise _wrong(key, value, "a positive number")
    return float(value)


def _wrong(key: str, value: object, wanted: str) -> EdgecError:
    what = f"{key} is missing" if value is None else f"{key} is {str(value)[:60]!r}, but must be {wanted}"
    return InputError.of(what, place=_PLACE, hint=_DAMAGED)


def _refused(key: str, value: object, why: str, hint: str) -> EdgecError:
    return InputError.of(f"{key} is {str(value)[:60]!r}: {why}", place=_PLACE, hint=hint)
