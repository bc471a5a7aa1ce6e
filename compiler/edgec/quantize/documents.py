"""The small files of a quantized checkpoint: config.json that says how it is quantized, and the source's own.

Rule: the keys are those that transformers, vLLM and TensorRT Edge-LLM read; nothing of the source's config is changed
but the type of the weights.
"""

from __future__ import annotations

import json
from typing import Any

from edgec.quantize.layout import QuantizedLayout
from edgec.quantize.settings import QuantizeSettings
from edgec.source.layout import CONFIG
from edgec.source.model import CheckpointHeader
from edgec.source.quantization import MODELOPT_CONFIG

# Not carried over: what tells of the source, or of another model than a decoder.
_LEFT_OUT = (CONFIG, MODELOPT_CONFIG, "README.md", "modules.json", "sentence_bert_config.json")
_UNQUANTIZED = ["lm_head", "model.embed_tokens"]


def documents(header: CheckpointHeader, layout: QuantizedLayout) -> dict[str, bytes]:
    """Name to content."""
    config = dict(header.config)
    # Both names: transformers 5 writes `dtype`, everything before reads `torch_dtype`.
    config |= {"torch_dtype": "float16", "dtype": "float16"}
    config["quantization_config"] = quantization_config(layout.settings)
    files = {n: d for n, d in header.files.items() if n not in _LEFT_OUT and "/" not in n}
    files[CONFIG] = _json(config)
    if layout.settings.method == "smoothquant":
        algorithm = {"quant_algo": "W8A8_SQ_PER_CHANNEL", "kv_cache_quant_algo": None, "exclude_modules": _UNQUANTIZED}
        files[MODELOPT_CONFIG] = _json({"producer": {"name": "edgec"}, "quantization": algorithm})
    return files


def quantization_config(settings: QuantizeSettings) -> dict[str, Any]:
    """`quantization_config` of config.json."""
    if settings.method == "smoothquant":
        return {
            "quant_method": "modelopt",
            "quant_algo": "W8A8_SQ_PER_CHANNEL",
            "ignore": _UNQUANTIZED,
            "producer": {"name": "edgec"},
        }
    common = {"bits": 4, "group_size": settings.group_size}
    if settings.method == "gptq":
        return {
            "quant_method": "gptq",
            **common,
            "desc_act": False,
            "sym": True,
            "damp_percent": 0.01,
            "true_sequential": True,
            "checkpoint_format": "gptq",
        }
    # Readers expect zero points in this layout; ours are all 8, the middle, which `symmetric` says.
    return {
        "quant_method": "awq",
        **common,
        "version": "gemm",
        "zero_point": True,
        "symmetric": True,
        "modules_to_not_convert": ["lm_head"],
    }


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
