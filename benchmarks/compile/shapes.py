"""Checkpoints of real models' shapes with random weights and a made-up byte-level BPE vocabulary of the real size."""

from __future__ import annotations

import json
import math
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np

_DOCS_LLAMA = Path(__file__).parents[2] / "models" / "docs-llama"
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

CONFIGS: dict[str, dict[str, Any]] = {
    # To try the benchmarks with.
    "tiny": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 512,
        "intermediate_size": 1024,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "vocab_size": 4096,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
    },
    "qwen2-0.5b": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
    },
    "llama-3.2-1b": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
    },
    "llama-3.1-8b": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
    },
}
_EVERY = {
    "max_position_embeddings": 32768,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def tensor_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Safetensors name to shape."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    kv = width // config["num_attention_heads"] * config["num_key_value_heads"]
    block: dict[str, tuple[int, ...]] = {
        "input_layernorm.weight": (width,),
        "mlp.down_proj.weight": (width, inner),
        "mlp.gate_proj.weight": (inner, width),
        "mlp.up_proj.weight": (inner, width),
        "post_attention_layernorm.weight": (width,),
        "self_attn.k_proj.weight": (kv, width),
        "self_attn.o_proj.weight": (width, width),
        "self_attn.q_proj.weight": (width, width),
        "self_attn.v_proj.weight": (kv, width),
    }
    if config["model_type"] == "qwen2":
        block |= {f"self_attn.{x}_proj.bias": (n,) for x, n in (("q", width), ("k", kv), ("v", kv))}
    layers = range(config["num_hidden_layers"])
    return {
        "model.embed_tokens.weight": (config["vocab_size"], width),
        **{f"model.layers.{i}.{name}": shape for i in layers for name, shape in block.items()},
        "model.norm.weight": (width,),
        **({} if config["tie_word_embeddings"] else {"lm_head.weight": (config["vocab_size"], width)}),
    }


def _config(shape: str, layers: int | None) -> dict[str, Any]:
    config = _EVERY | CONFIGS[shape]
    return config if layers is None else config | {"num_hidden_layers": layers}


def disk_bytes(shape: str, layers: int | None = None) -> int:
    """Bytes of the weights of `shape`, with another number of layers than its own if given."""
    return sum(2 * math.prod(s) for s in tensor_shapes(_config(shape, layers)).values())


def output_bytes(shape: str, scheme: str, layers: int | None = None) -> int:
    """Not less than the bytes of a GGUF of `shape`: the bits in the scheme's name, and one more per weight."""
    found = re.search(r"\d+", scheme)
    bits = int(found[0]) + 1 if found else 32
    return disk_bytes(shape, layers) * bits // 16


def refuse_small_disk(folder: Path, needed_bytes: int) -> None:
    """End the program when the disk of `folder` has no room for that and a gigabyte to spare."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes + 10**9:
        sys.exit(
            f"{folder}: {free_bytes / 1e9:.1f} GB free, {needed_bytes / 1e9:.1f} GB needed; use another with --work"
        )


def make_checkpoint(work: Path, shape: str, *, layers: int | None = None) -> Path:
    """The checkpoint of `shape` in `work`, written in a process of its own unless it is there; its folder."""
    folder = work / (shape if layers is None else f"{shape}-{layers}")
    if not folder.exists():
        begun = folder.with_name(folder.name + ".begun")
        shutil.rmtree(begun, ignore_errors=True)
        # Not here: a process that starts others after that would count its own memory as theirs.
        command = [sys.executable, __file__, str(begun), shape, *([] if layers is None else [str(layers)])]
        subprocess.run(command, check=True)
        begun.rename(folder)
    return folder


def write_checkpoint(folder: Path, shape: str, *, layers: int | None = None, shard_bytes: int = 4 * 10**9) -> None:
    """Write config.json, the tokenizer and weights (bfloat16, normal, deviation 0.02, seed 0), in shards if large."""
    folder.mkdir(parents=True)
    config = _config(shape, layers)
    size = config["vocab_size"] - 256
    first_special = size - len(_SPECIAL)
    config |= {"bos_token_id": first_special, "eos_token_id": first_special + 2}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(first_special), ensure_ascii=False))
    (folder / "tokenizer_config.json").write_bytes((_DOCS_LLAMA / "tokenizer_config.json").read_bytes())
    _write_shards(folder, _shards(tensor_shapes(config), shard_bytes))


def _tokenizer(n_tokens: int) -> dict[str, Any]:
    """docs-llama's tokenizer with `n_tokens` made-up tokens, then the special ones."""
    tokenizer: dict[str, Any] = json.loads((_DOCS_LLAMA / "tokenizer.json").read_text())
    old = tokenizer["model"]["vocab"]
    added = {t["content"]: t for t in tokenizer["added_tokens"]}
    tokens = sorted((t for t in old if len(t) == 1 and t not in added), key=old.__getitem__)
    merges: list[list[str]] = []
    for token in _words():
        if len(tokens) == n_tokens:
            break
        tokens.append(token)
        merges.append([token[:-1], token[-1]])
    tokenizer["model"]["vocab"] = {t: i for i, t in enumerate(tokens)}
    tokenizer["model"]["merges"] = merges
    tokenizer["added_tokens"] = [added[s] | {"id": n_tokens + i} for i, s in enumerate(_SPECIAL)]
    return tokenizer


def _words() -> Iterator[str]:
    """Strings of two, three and more letters; each without its last letter came before."""
    for length in count(2):
        yield from map("".join, product("etaoinshrdlucmfwypvbgkqjxz", repeat=length))


def _shards(shapes: dict[str, tuple[int, ...]], shard_bytes: int) -> list[dict[str, tuple[int, ...]]]:
    """`shapes` in order, in groups of at most `shard_bytes` unless one tensor alone is larger."""
    groups: list[dict[str, tuple[int, ...]]] = [{}]
    room = shard_bytes
    for name, shape in shapes.items():
        nbytes = 2 * math.prod(shape)
        if nbytes > room and groups[-1]:
            groups.append({})
            room = shard_bytes
        groups[-1][name] = shape
        room -= nbytes
    return groups


def _write_shards(folder: Path, groups: list[dict[str, tuple[int, ...]]]) -> None:
    rng = np.random.default_rng(0)
    if len(groups) == 1:
        _write_weights(folder / "model.safetensors", groups[0], rng)
        return
    index: dict[str, str] = {}
    for number, shapes in enumerate(groups, 1):
        name = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        _write_weights(folder / name, shapes, rng)
        index |= dict.fromkeys(shapes, name)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)


def _write_weights(path: Path, shapes: dict[str, tuple[int, ...]], rng: np.random.Generator) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        size = math.prod(shape) * 2
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            left = math.prod(shape)
            while left:
                values = rng.standard_normal(min(left, 1 << 22), np.float32) * np.float32(0.02)
                file.write((values.view(np.uint32) >> 16).astype("<u2").tobytes())
                left -= values.size


if __name__ == "__main__":
    write_checkpoint(Path(sys.argv[1]), sys.argv[2], layers=int(sys.argv[3]) if len(sys.argv) > 3 else None)
