"""Rotary positions: Hugging Face's settings, in both spellings, to TensorRT-LLM's `rotary_base` and `rotary_scaling`.

Rule: a scaling is either the same function in both, or refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.errors import EdgecError, InputError

_HINT = "use the publisher's original rope settings, or the format `gguf`, which knows more of them"
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


@dataclass(frozen=True)
class Rope:
    """`scaling`: `rotary_scaling` of TensorRT-LLM's config.json. `stretch`: what it multiplies usable positions by."""

    base: float
    scaling: Mapping[str, Any] | None
    stretch: float = 1.0


def read_rope(config: Mapping[str, Any]) -> Rope:
    """The settings of `config`, with the defaults of its class. Raises InputError."""
    settings = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(settings, Mapping) or any(isinstance(v, Mapping) for v in settings.values()):
        raise _refused("one set of rotary settings for all layers is converted")
    base = _number(settings, "rope_theta", _number(config, "rope_theta"))
    if _number(settings, "partial_rotary_factor", _number(config, "partial_rotary_factor", 1.0)) != 1.0:
        raise _refused("only a part of each head is rotated")
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind == "default":
        return Rope(base, None)
    # v0.12 looks for `type` first, transformers for `rope_type`: both are written.
    if kind == "linear":
        factor = _number(settings, "factor")
        return Rope(base, {"type": "linear", "rope_type": "linear", "factor": factor}, factor)
    if kind == "llama3":
        values = {key: _number(settings, key) for key in _LLAMA3}
        if values["high_freq_factor"] <= values["low_freq_factor"]:
            raise _refused("high_freq_factor is not larger than low_freq_factor")
        original = {"original_max_position_embeddings": int(values["original_max_position_embeddings"])}
        return Rope(base, {"type": "llama3", "rope_type": "llama3", **values, **original})
    raise _refused(f"rope type {str(kind)[:40]!r} cannot be converted; default, linear and llama3 can")


def _number(settings: Mapping[str, Any], key: str, default: float | None = None) -> float:
    value = settings.get(key)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        stands = "missing" if value is None else f"{str(value)[:40]!r}"
        raise _refused(f"{key} is {stands}, but must be a positive number")
    return float(value)


def _refused(why: str) -> EdgecError:
    return InputError.of(why, place="config.json: rope settings", hint=_HINT)
