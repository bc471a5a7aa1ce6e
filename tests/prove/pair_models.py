"""Random tiny decoders as Hugging Face checkpoints, and copies of checkpoints with one mistake in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from proof_models import DOCS_LLAMA

from edgec.source.local import open_local
from edgec.source.reader import TensorReader
from edgec.source.safetensors_file import SafetensorsFile, TensorSpec, plan_safetensors

Arrays = dict[str, NDArray[np.float32]]
INSIDE = Path(__file__).parents[2] / "compiler" / "edgec" / "prove" / "decoder_pair" / "inside"

_SMALL: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 4096, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "float32",
    "bos_token_id": 4093, "eos_token_id": 4095,
}  # fmt: skip
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 64}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
    "llama3": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_scaling": _LLAMA3, "head_dim": 32,
               "tie_word_embeddings": True},
    "llama-bias": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": True},
    "mistral-window": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 16},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True},
    "qwen2-window": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "use_sliding_window": True,
                     "sliding_window": 16, "max_window_layers": 1},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 32, "attention_bias": False},
}  # fmt: skip


def config_of(name: str, **changes: Any) -> dict[str, Any]:
    """The config.json of a tiny decoder."""
    return {**_SMALL, **CONFIGS[name], **changes}


def shapes_of(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Its tensors."""
    h, i, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head = config.get("head_dim", h // heads)
    q, kv = head * heads, head * config["num_key_value_heads"]
    kind = config["model_type"]
    layer: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (q, h), "self_attn.k_proj.weight": (kv, h), "self_attn.v_proj.weight": (kv, h),
        "self_attn.o_proj.weight": (h, q), "mlp.gate_proj.weight": (i, h), "mlp.up_proj.weight": (i, h),
        "mlp.down_proj.weight": (h, i), "input_layernorm.weight": (h,), "post_attention_layernorm.weight": (h,),
    }  # fmt: skip
    if kind == "qwen2" or config.get("attention_bias"):
        layer |= {f"self_attn.{n}_proj.bias": (width,) for n, width in (("q", q), ("k", kv), ("v", kv))}
    if config.get("attention_bias"):
        layer["self_attn.o_proj.bias"] = (h,)
    if kind == "qwen3":
        layer |= {"self_attn.q_norm.weight": (head,), "self_attn.k_norm.weight": (head,)}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], h)}
    for n in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{n}.{name}": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (h,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], h)
    return shapes


def random_tensors(config: Mapping[str, Any], seed: int = 0) -> Arrays:
    """Values of the size that trained ones have; norms lie about 1."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes_of(config).items():
        values = rng.standard_normal(shape, dtype=np.float32)
        found[name] = 1 + np.float32(0.1) * values if "norm" in name else values / np.float32(shape[-1] ** 0.5)
    return found


def write_checkpoint(
    folder: Path, config: Mapping[str, Any], tensors: Arrays, *, dtype: str = "F32", shards: int = 1
) -> Path:
    """A checkpoint with docs-llama's tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(config)))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DOCS_LLAMA / file, folder / file)
    names = sorted(tensors)
    files = {}
    for shard in range(shards):
        own = names[shard::shards]
        file = "model.safetensors" if shards == 1 else f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        files |= dict.fromkeys(own, file)
        layout = plan_safetensors([TensorSpec(n, dtype, tensors[n].shape) for n in own])
        with SafetensorsFile(folder / file, layout) as out:
            for name in own:
                out.write(name, _stored(tensors[name], dtype))
    if shards > 1:
        index = {"metadata": {}, "weight_map": files}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def read_tensors(folder: Path) -> Arrays:
    """All tensors of a checkpoint of one file in bfloat16 or float32, widened."""
    source = open_local(folder)
    found: Arrays = {}
    with TensorReader(source) as reader:
        for name, info in source.header.tensors.items():
            data = bytearray(info.nbytes)
            reader.pread(info, 0, info.nbytes, memoryview(data))
            if info.dtype == "BF16":
                values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(data, "<f4")
            found[name] = values.reshape(info.shape)
    return found


def changed_copy(folder: Path, change: Callable[[Arrays], None], *, dtype: str = "F32") -> Path:
    """docs-llama, decoded as a format does, after `change`."""
    tensors = dict(read_tensors(DOCS_LLAMA))
    change(tensors)
    return write_checkpoint(folder, json.loads((DOCS_LLAMA / "config.json").read_text()), tensors, dtype=dtype)


def _stored(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(np.float16 if dtype == "F16" else np.float32)
