"""Small checkpoints as Edge-LLM's exporter takes them: plain, AWQ, GPTQ and INT8 SmoothQuant, made here with numpy.

Rule: codes and scales are rounded to nearest here, by code that shares nothing with edgec's quantizer and readers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.events import Event
from edgec.formats.edgellm.export import EdgeLlmExport
from edgec.formats.edgellm.layout import EdgeLlmLayout
from edgec.source.local import open_local
from edgec.source.model import Checkpoint
from edgec.source.safetensors_file import SafetensorsFile, TensorSpec, plan_safetensors

Arrays = dict[str, NDArray[np.generic]]
DOCS_LLAMA = Path(__file__).parents[3] / "models" / "docs-llama"
GROUP = 128
_AWQ_CHANNELS = (0, 2, 4, 6, 1, 3, 5, 7)
_NAMES = {
    np.dtype("<f4"): "F32",
    np.dtype("<f2"): "F16",
    np.dtype("<i4"): "I32",
    np.dtype("i1"): "I8",
    np.dtype("u1"): "U8",
}

LLAMA: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3: Mapping[str, Any] = {
    **LLAMA,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}
QWEN2: Mapping[str, Any] = {
    **{k: v for k, v in LLAMA.items() if k != "head_dim"},
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "rms_norm_eps": 1e-6,
    "sliding_window": 512,
    "use_sliding_window": False,
    "max_window_layers": 2,
    "tie_word_embeddings": True,
}
QWEN3: Mapping[str, Any] = {
    **LLAMA,
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
}


def write_checkpoint(folder: Path, config: Mapping[str, Any], tensors: Arrays) -> Path:
    """A checkpoint folder of these tensors, with a tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    specs = [TensorSpec(name, _NAMES[array.dtype], array.shape) for name, array in tensors.items()]
    with SafetensorsFile(folder / "model.safetensors", plan_safetensors(specs)) as file:
        for name, array in tensors.items():
            file.write(name, array)
    (folder / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DOCS_LLAMA / name, folder / name)
    return folder


def random_tensors(config: Mapping[str, Any], seed: int = 0) -> Arrays:
    """Random float16 weights of the model that `config` describes."""
    rng = np.random.default_rng(seed)
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head_dim = config.get("head_dim", hidden // heads)
    q, kv = heads * head_dim, config["num_key_value_heads"] * head_dim

    def normal(*shape: int) -> NDArray[np.float16]:
        return (rng.standard_normal(shape) * 0.05).astype(np.float16)

    def norm(width: int) -> NDArray[np.float16]:
        return (1 + rng.standard_normal(width) * 0.1).astype(np.float16)

    out: Arrays = {"model.embed_tokens.weight": normal(config["vocab_size"], hidden), "model.norm.weight": norm(hidden)}
    if not config["tie_word_embeddings"]:
        out["lm_head.weight"] = normal(config["vocab_size"], hidden)
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes = {"q": (q, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, q)}
        out |= {f"{at}.self_attn.{name}_proj.weight": normal(*shape) for name, shape in shapes.items()}
        shapes = {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}
        out |= {f"{at}.mlp.{name}_proj.weight": normal(*shape) for name, shape in shapes.items()}
        out |= {f"{at}.{name}_layernorm.weight": norm(hidden) for name in ("input", "post_attention")}
        if config["model_type"] == "qwen2":
            out |= {
                f"{at}.self_attn.{name}_proj.bias": normal(shape) for name, shape in (("q", q), ("k", kv), ("v", kv))
            }
        if config["model_type"] == "qwen3":
            out |= {f"{at}.self_attn.{name}_norm.weight": norm(head_dim) for name in ("q", "k")}
    return out


def docs_llama_tensors() -> Arrays:
    """The weights of docs-llama, as float16."""
    raw = (DOCS_LLAMA / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    out: Arrays = {}
    for name, entry in sorted(header.items()):
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        bits = np.frombuffer(raw[begin:end], "<u2").astype(np.uint32) << np.uint32(16)
        out[name] = bits.view(np.float32).reshape(entry["shape"]).astype(np.float16)
    return out


def is_linear(name: str) -> bool:
    """Whether a quantized checkpoint quantizes this tensor."""
    return name.endswith("_proj.weight")


def int4_codes(weight: NDArray[np.generic]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Symmetric codes -8..7 (out, in) and scales (out, groups), rounded to nearest."""
    rows, columns = weight.shape
    grouped = weight.astype(np.float32).reshape(rows, columns // GROUP, GROUP)
    scales = np.maximum(np.abs(grouped).max(axis=2) / 7, 1e-7).astype(np.float16)
    codes = np.clip(np.rint(grouped / scales.astype(np.float32)[:, :, None]), -8, 7)
    return codes.reshape(rows, columns).astype(np.int8), scales


def as_awq(tensors: Arrays, zeros: int = 8) -> Arrays:
    """The same model in AutoAWQ's GEMM layout; `zeros`: the zero point of every group."""
    out: Arrays = {}
    for name, weight in tensors.items():
        if not is_linear(name):
            out[name] = weight
            continue
        codes, scales = int4_codes(weight)
        at = name.removesuffix(".weight")
        unsigned = np.ascontiguousarray((codes.astype(np.int32) + 8).T).astype(np.uint32)
        words = np.zeros((unsigned.shape[0], unsigned.shape[1] // 8), np.uint32)
        for bit, channel in enumerate(_AWQ_CHANNELS):
            words |= unsigned[:, channel::8] << np.uint32(4 * bit)
        zero_words = np.full((scales.shape[1], len(weight) // 8), 0x11111111 * zeros, np.uint32)
        out |= {f"{at}.qweight": words.view(np.int32), f"{at}.qzeros": zero_words.view(np.int32)}
        out[f"{at}.scales"] = np.ascontiguousarray(scales.T)
    return out


def as_gptq(tensors: Arrays) -> Arrays:
    """The same model in GPTQ's layout, symmetric, channels in order."""
    out: Arrays = {}
    for name, weight in tensors.items():
        if not is_linear(name):
            out[name] = weight
            continue
        codes, scales = int4_codes(weight)
        at = name.removesuffix(".weight")
        unsigned = np.ascontiguousarray((codes.astype(np.int32) + 8).T).astype(np.uint32)
        words = np.zeros((unsigned.shape[0] // 8, unsigned.shape[1]), np.uint32)
        for bit in range(8):
            words |= unsigned[bit::8] << np.uint32(4 * bit)
        zero_words = np.full((scales.shape[1], len(weight) // 8), 0x77777777, np.uint32)
        out |= {f"{at}.qweight": words.view(np.int32), f"{at}.qzeros": zero_words.view(np.int32)}
        out |= {f"{at}.scales": np.ascontiguousarray(scales.T)}
        out[f"{at}.g_idx"] = (np.arange(weight.shape[1]) // GROUP).astype(np.int32)
    return out


def as_modelopt_awq(tensors: Arrays) -> Arrays:
    """The same model in modelopt's INT4 AWQ layout; the inputs of o and down are smoothed."""
    out: Arrays = {}
    for name, weight in tensors.items():
        if not is_linear(name):
            out[name] = weight
            continue
        codes, scales = int4_codes(weight)
        at, low = name.removesuffix(".weight"), codes.view(np.uint8) & 15
        out[name] = low[0::2] | low[1::2] << 4
        out[f"{at}.weight_scale"] = scales.astype(np.float32)
        if at.endswith(("o_proj", "down_proj")):
            out[f"{at}.pre_quant_scale"] = _smoothing(at, weight.shape[1])[0]
    return out


def as_smoothquant(tensors: Arrays) -> Arrays:
    """The same model in modelopt's INT8 SmoothQuant layout, with smoothing factors that are not all one."""
    out: Arrays = {}
    for name, weight in tensors.items():
        if not is_linear(name):
            out[name] = weight
            continue
        at = name.removesuffix(".weight")
        smooth, input_scale = _smoothing(at, weight.shape[1])
        smoothed = weight.astype(np.float32) / smooth.astype(np.float32)
        scale = (np.abs(smoothed).max(axis=1) / 127).astype(np.float32)
        out[name] = np.clip(np.rint(smoothed / scale[:, None]), -127, 127).astype(np.int8)
        out |= {f"{at}.weight_scale": scale, f"{at}.pre_quant_scale": smooth, f"{at}.input_scale": input_scale}
    return out


def _smoothing(name: str, width: int) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """What a linear's input goes through; q, k and v multiply the same input, and so do gate and up."""
    leader = name
    for part, first in (("k_proj", "q_proj"), ("v_proj", "q_proj"), ("up_proj", "gate_proj")):
        leader = leader.replace(part, first)
    rng = np.random.default_rng(list(leader.encode()))
    return rng.uniform(0.5, 2.0, width).astype(np.float16), np.float32(rng.uniform(0.01, 0.05)).reshape(())


QUANTIZATION_CONFIG: Mapping[str, Mapping[str, Any]] = {
    "int4_awq": {
        "quant_method": "awq",
        "bits": 4,
        "group_size": GROUP,
        "zero_point": False,
        "version": "gemm",
        "modules_to_not_convert": ["lm_head"],
    },
    "int4_gptq": {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": True, "desc_act": False},
    "int8_sq": {"quant_method": "modelopt", "quant_algo": "W8A8_SQ_PER_CHANNEL", "ignore": ["lm_head"]},
    "modelopt_awq": {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ", "group_size": GROUP, "ignore": ["lm_head"]},
}


def quantized(tensors: Arrays, scheme: str) -> Arrays:
    """The model in the layout that `scheme` is exported from, or in the layout of this name."""
    layouts = {"int4_awq": as_awq, "int4_gptq": as_gptq, "int8_sq": as_smoothquant, "modelopt_awq": as_modelopt_awq}
    return layouts[scheme](tensors)


def write_quantized(folder: Path, config: Mapping[str, Any], tensors: Arrays, scheme: str) -> Path:
    """A quantized checkpoint folder."""
    settings = {**config, "quantization_config": dict(QUANTIZATION_CONFIG[scheme])}
    return write_checkpoint(folder, settings, quantized(tensors, scheme))


def docs_llama_config() -> dict[str, Any]:
    """The config.json of docs-llama."""
    config: dict[str, Any] = json.loads((DOCS_LLAMA / "config.json").read_text(encoding="utf-8"))
    return config


CONFIGS = {"llama": LLAMA3, "qwen2": QWEN2, "qwen3": QWEN3}


@dataclass(frozen=True)
class Exported:
    """A checkpoint, its plan, the exporter's result in `folder`, and what was reported meanwhile."""

    checkpoint: Checkpoint
    layout: EdgeLlmLayout
    folder: Path
    result: EdgeLlmExport
    events: tuple[Event, ...]


def make_checkpoint(folder: Path, model: str, scheme: str) -> Checkpoint:
    """A small checkpoint as the exporter takes it for this scheme. docs-llama's own is in BF16."""
    if (model, scheme) == ("docs-llama", "fp16"):
        return open_local(DOCS_LLAMA)
    config = docs_llama_config() if model == "docs-llama" else CONFIGS[model]
    tensors = docs_llama_tensors() if model == "docs-llama" else random_tensors(config)
    if scheme == "fp16":
        return open_local(write_checkpoint(folder, config, tensors))
    return open_local(write_quantized(folder, config, tensors, scheme))
