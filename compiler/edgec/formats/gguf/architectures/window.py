"""Sliding windows llama.cpp does not compute. Rule: the context is cut to the window, inside which nothing differs."""

from __future__ import annotations

from dataclasses import replace

from edgec.errors import InputError
from edgec.formats.gguf.architectures.config import Config, show
from edgec.formats.gguf.architectures.decoder import Dimensions


def layer_window(config: Config, n_layer: int) -> int | None:
    """Qwen's window: None when no layer slides. Newer configs name each layer's kind, older ones count them."""
    kinds = config.get("layer_types")
    if kinds is None:
        slides = config.flag("use_sliding_window") and _first_sliding(config) < n_layer
    else:
        slides = "sliding_attention" in layer_kinds(config, n_layer)
    return config.optional_integer("sliding_window") if slides else None


def _first_sliding(config: Config) -> int:
    value = config.get("max_window_layers")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise config.wrong("max_window_layers", "a number of layers")
    return value


def layer_kinds(config: Config, n_layer: int) -> tuple[str, ...]:
    """`layer_types`, checked: one of `full_attention` and `sliding_attention` per layer."""
    kinds = config.get("layer_types")
    known = ("full_attention", "sliding_attention")
    if not isinstance(kinds, list) or len(kinds) != n_layer or not all(kind in known for kind in kinds):
        raise InputError.of(
            f"layer_types is {show(kinds)}, but must name {n_layer} layers full_attention or sliding_attention",
            place=config.place,
            hint="compare with the config.json of the model's publisher",
        )
    return tuple(kinds)


def cut_to_window(dims: Dimensions, window: int | None, arch: str) -> tuple[Dimensions, tuple[str, ...]]:
    """The sizes with the context cut to `window` tokens, and a note for people when that changed anything."""
    if window is None or window >= dims.context_length:
        return dims, ()
    note = (
        f"context cut from {dims.context_length} to {window} tokens: the model attends to a sliding window of {window},"
        f" which llama.cpp does not compute for {arch}; up to {window} tokens both agree exactly"
    )
    return replace(dims, context_length=window), (note,)
