"""config.json of a TensorRT-LLM checkpoint, written from Hugging Face's configuration.

Rule: only keys that every version's `PretrainedConfig` and `QuantConfig` take: an unknown one within `quantization`
ends the build. Modules that stay FP16 are the loader's defaults (lm_head, embeddings), so they are not listed.
"""

from __future__ import annotations

import json
from typing import Any

from edgec.formats.trtllm.schemes import KvCache, Scheme
from edgec.formats.trtllm.shape import DecoderShape
from edgec.formats.trtllm.source_check import SourceLinears
from edgec.formats.trtllm.versions import VersionFacts

_DEFAULT_GROUP_SIZE = 128


def config_bytes(
    shape: DecoderShape, source: SourceLinears, scheme: Scheme, facts: VersionFacts, kv_cache: KvCache
) -> bytes:
    """The file's bytes; the same settings always make the same."""
    config: dict[str, Any] = {
        "architecture": shape.architecture,
        "dtype": "float16",
        "logits_dtype": "float32",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_size": shape.head_size,
        "hidden_act": "silu",
        "norm_epsilon": shape.epsilon,
        "position_embedding_type": "rope_gpt_neox",
        "max_position_embeddings": shape.positions,
        "rotary_base": shape.rope.base,
        "rotary_scaling": None if shape.rope.scaling is None else dict(shape.rope.scaling),
        "attn_bias": source.attention_bias,
        "mlp_bias": source.mlp_bias,
        "mapping": {"world_size": 1, "tp_size": 1, "pp_size": 1},
        "quantization": _quantization(source, scheme, kv_cache),
    }
    if shape.qwen_type is not None:
        config["qwen_type"] = shape.qwen_type
    if facts.omits_tied_output == "config":
        config["share_embedding_table"] = shape.tied
    return (json.dumps(config, indent=2) + "\n").encode()


def _quantization(source: SourceLinears, scheme: Scheme, kv_cache: KvCache) -> dict[str, Any]:
    return {
        "quant_algo": scheme.algo,
        "kv_cache_quant_algo": "INT8" if kv_cache == "int8" else None,
        "group_size": source.group_size or _DEFAULT_GROUP_SIZE,
        "has_zero_point": False,
        "pre_quant_scale": scheme.source_bits == 8 or source.pre_scaled,
        "exclude_modules": None,
    }
