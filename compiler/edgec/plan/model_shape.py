"""A model as memory and speed depend on it, where it does not become a GGUF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.quantize.architecture import Decoder


@dataclass(frozen=True)
class TransformerShape:
    """What `predict_fit` and the KV cache ask of a transformer: see `edgec.plan.fit.FitShape`.

    Every layer counts with its whole context: engines allocate pages for all of it, windows or not.
    """

    n_layer: int
    n_head_kv: int
    head_dim_k: int
    head_dim_v: int
    n_embd: int
    n_ff: int
    n_vocab: int
    sliding_window: int | None = None
    n_full_attention_layers: int | None = None


def decoder_shape(decoder: Decoder) -> TransformerShape:
    """The shape of a decoder that was understood."""
    return TransformerShape(
        n_layer=decoder.layers,
        n_head_kv=decoder.kv_heads,
        head_dim_k=decoder.head_dim,
        head_dim_v=decoder.head_dim,
        n_embd=decoder.width,
        n_ff=decoder.inner,
        n_vocab=decoder.vocabulary,
    )


def longest_context(config: Mapping[str, Any], decoder: Decoder) -> int:
    """Tokens that the model can look at together: its positions, or its window where it has one and uses it."""
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    is_qwen = "use_sliding_window" in config or str(config.get("model_type", "")).startswith("qwen")
    if is_qwen and not config.get("use_sliding_window", False):
        window = None
    return decoder.context if not isinstance(window, int) else min(decoder.context, window)
