"""One decoder layer as it computes, over weights as they are, plain or quantized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.quantize.architecture import ATTENTION_INPUTS, LINEARS, Decoder
from edgec.quantize.forward import Floats, attention, gated, positioned, rms_norm
from edgec.quantize.linear_state import LinearState
from edgec.quantize.weights import Weights


@dataclass(frozen=True)
class LayerOutput:
    """What a layer makes of its inputs, and the keys and values that a cache would hold (tokens, channels)."""

    hidden: Floats
    keys: Floats
    values: Floats


class DecoderLayer:
    """Layer number `layer`. Inputs of quantized linears are scaled and rounded as the checkpoint says."""

    def __init__(self, decoder: Decoder, weights: Weights, layer: int) -> None:
        prefix = f"model.layers.{layer}."
        self._decoder = decoder
        self._linears = {name: LinearState(weights, prefix + name) for name in LINEARS}
        self._norms = {name: weights.vector(f"{prefix}{name}.weight") for name in decoder.norms()}

    def run(self, hidden: Floats, tokens: int) -> LayerOutput:
        """`hidden`: (rows, width), whole windows of `tokens` rows each."""
        linears, decoder = self._linears, self._decoder
        x = self._normed("input_layernorm", hidden)
        q, k, v = (linears[name].apply(x) for name in ATTENTION_INPUTS)
        queries = positioned(decoder, q, self._norms.get("self_attn.q_norm"), tokens)
        keys = positioned(decoder, k, self._norms.get("self_attn.k_norm"), tokens)
        values = v.reshape(-1, tokens, decoder.kv_heads, decoder.head_dim)
        attended = attention(queries, keys, values).reshape(len(hidden), -1)
        middle = hidden + linears["self_attn.o_proj"].apply(attended)
        x = self._normed("post_attention_layernorm", middle)
        inner = gated(linears["mlp.gate_proj"].apply(x), linears["mlp.up_proj"].apply(x))
        middle += linears["mlp.down_proj"].apply(inner)
        return LayerOutput(middle, np.ascontiguousarray(keys).reshape(v.shape), v)

    def _normed(self, name: str, x: Floats) -> Floats:
        return rms_norm(x, self._norms[name], self._decoder.epsilon)
