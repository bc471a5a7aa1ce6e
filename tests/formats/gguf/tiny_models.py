"""Small checkpoints for tests: random weights in Llama's and Qwen2's shapes, mapped to llama.cpp's names by hand.

The mappings are written down here again, apart from edgec.formats.gguf.architectures: the compile is tested alone.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf.model import KeyValue, MappedModel, ModelShape, TensorMapping, ValueType, Vocabulary
from edgec.source.local import open_local
from edgec.source.model import Checkpoint, DType

DOCS_LLAMA = Path(__file__).parents[3] / "models" / "docs-llama"

# GGUF name, safetensors name, which head count reorders its rows ("" for none).
_BLOCK = (
    ("attn_norm.weight", "input_layernorm.weight", ""),
    ("attn_q.weight", "self_attn.q_proj.weight", "num_attention_heads"),
    ("attn_q.bias", "self_attn.q_proj.bias", "num_attention_heads"),
    ("attn_k.weight", "self_attn.k_proj.weight", "num_key_value_heads"),
    ("attn_k.bias", "self_attn.k_proj.bias", "num_key_value_heads"),
    ("attn_v.weight", "self_attn.v_proj.weight", ""),
    ("attn_v.bias", "self_attn.v_proj.bias", ""),
    ("attn_output.weight", "self_attn.o_proj.weight", ""),
    ("ffn_norm.weight", "post_attention_layernorm.weight", ""),
    ("ffn_gate.weight", "mlp.gate_proj.weight", ""),
    ("ffn_up.weight", "mlp.up_proj.weight", ""),
    ("ffn_down.weight", "mlp.down_proj.weight", ""),
)
_OUTSIDE = (
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
)


@dataclass(frozen=True)
class TinyShape:
    """The numbers of a random model. `family`: `llama` or `qwen2` (biases, rows not reordered)."""

    family: str
    layers: int
    width: int
    inner: int
    heads: int
    heads_kv: int
    vocabulary: int = 4096
    tied: bool = False
    dtype: DType = DType.BF16

    def config(self) -> dict[str, Any]:
        """As config.json says it."""
        return {
            "architectures": ["LlamaForCausalLM" if self.family == "llama" else "Qwen2ForCausalLM"],
            "model_type": self.family,
            "hidden_size": self.width,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads_kv,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 256,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": self.tied,
            "bos_token_id": 4093,
            "eos_token_id": 4095,
            "torch_dtype": "bfloat16",
        }

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Safetensors name to shape."""
        kv = self.width // self.heads * self.heads_kv
        block: dict[str, tuple[int, ...]] = {
            "input_layernorm.weight": (self.width,),
            "self_attn.q_proj.weight": (self.width, self.width),
            "self_attn.k_proj.weight": (kv, self.width),
            "self_attn.v_proj.weight": (kv, self.width),
            "self_attn.o_proj.weight": (self.width, self.width),
            "post_attention_layernorm.weight": (self.width,),
            "mlp.gate_proj.weight": (self.inner, self.width),
            "mlp.up_proj.weight": (self.inner, self.width),
            "mlp.down_proj.weight": (self.width, self.inner),
        }
        if self.family == "qwen2":
            biases = (("q", self.width), ("k", kv), ("v", kv))
            block |= {f"self_attn.{x}_proj.bias": (n,) for x, n in biases}
        shapes: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocabulary, self.width),
            "model.norm.weight": (self.width,),
        }
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocabulary, self.width)
        return shapes | {f"model.layers.{i}.{n}": s for i in range(self.layers) for n, s in block.items()}


def encode(values: NDArray[np.float32], dtype: DType) -> bytes:
    """The values as safetensors stores them; bfloat16 by cutting."""
    if dtype is DType.BF16:
        return (values.astype("<f4").view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype("<f4" if dtype is DType.F32 else "<f2").tobytes()


def write_safetensors(path: Path, tensors: dict[str, tuple[DType, tuple[int, ...], bytes]]) -> None:
    """A safetensors file of `tensors`: name to type, shape and bytes."""
    header: dict[str, Any] = {}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype.value, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(data for _, _, data in tensors.values())


def write_random(folder: Path, shape: TinyShape, *, seed: int = 0) -> Checkpoint:
    """A checkpoint of random weights in `folder`, with docs-llama's tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    tensors: dict[str, tuple[DType, tuple[int, ...], bytes]] = {}
    for name, dimensions in shape.tensor_shapes().items():
        values = rng.standard_normal(dimensions, np.float32) * np.float32(0.05)
        tensors[name] = (shape.dtype, dimensions, encode(values, shape.dtype))
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(shape.config()))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((DOCS_LLAMA / name).read_bytes())
    return open_local(folder)


def map_by_hand(checkpoint: Checkpoint) -> MappedModel:
    """`checkpoint` (Llama or Qwen2) as llama.cpp knows it."""
    config = checkpoint.header.config
    family = config["model_type"]
    sources = checkpoint.header.tensors
    mappings = [
        TensorMapping(
            f"blk.{i}.{ours}",
            f"model.layers.{i}.{theirs}",
            sources[f"model.layers.{i}.{theirs}"].shape,
            unpermute_heads=config[heads] if heads and family == "llama" else None,
        )
        for i in range(config["num_hidden_layers"])
        for ours, theirs, heads in _BLOCK
        if f"model.layers.{i}.{theirs}" in sources
    ]
    mappings += [TensorMapping(ours, theirs, sources[theirs].shape) for ours, theirs in _OUTSIDE if theirs in sources]
    return MappedModel(family, "decoder", _shape(config), _metadata(family, config), tuple(mappings))


def _shape(config: Any) -> ModelShape:
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    return ModelShape(
        n_layer=config["num_hidden_layers"],
        n_embd=config["hidden_size"],
        n_ff=config["intermediate_size"],
        n_head=config["num_attention_heads"],
        n_head_kv=config["num_key_value_heads"],
        head_dim_k=head_dim,
        head_dim_v=head_dim,
        n_vocab=config["vocab_size"],
        context_length=config["max_position_embeddings"],
    )


def _metadata(family: str, config: Any) -> tuple[KeyValue, ...]:
    numbers = {
        "block_count": "num_hidden_layers",
        "context_length": "max_position_embeddings",
        "embedding_length": "hidden_size",
        "feed_forward_length": "intermediate_size",
        "attention.head_count": "num_attention_heads",
        "attention.head_count_kv": "num_key_value_heads",
        "vocab_size": "vocab_size",
    }
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    return (
        KeyValue("general.architecture", ValueType.STRING, family),
        *(KeyValue(f"{family}.{ours}", ValueType.UINT32, config[theirs]) for ours, theirs in numbers.items()),
        KeyValue(f"{family}.rope.dimension_count", ValueType.UINT32, head_dim),
        KeyValue(f"{family}.rope.freq_base", ValueType.FLOAT32, config["rope_theta"]),
        KeyValue(f"{family}.attention.layer_norm_rms_epsilon", ValueType.FLOAT32, config["rms_norm_eps"]),
    )


def vocabulary_by_hand(checkpoint: Checkpoint) -> Vocabulary:
    """The byte-level BPE of tokenizer.json, as far as a file needs it to be loaded."""
    tokenizer = json.loads(checkpoint.header.files["tokenizer.json"])
    ids = tokenizer["model"]["vocab"] | {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    tokens = tuple(sorted(ids, key=ids.__getitem__))
    special = {t["id"] for t in tokenizer["added_tokens"]}
    merges = tuple(m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"])
    types = tuple(3 if i in special else 1 for i in range(len(tokens)))
    return Vocabulary(
        metadata=(
            KeyValue("tokenizer.ggml.model", ValueType.STRING, "gpt2"),
            KeyValue("tokenizer.ggml.pre", ValueType.STRING, "qwen2"),
            KeyValue("tokenizer.ggml.tokens", ValueType.ARRAY, tokens, ValueType.STRING),
            KeyValue("tokenizer.ggml.token_type", ValueType.ARRAY, types, ValueType.INT32),
            KeyValue("tokenizer.ggml.merges", ValueType.ARRAY, merges, ValueType.STRING),
        ),
        model="gpt2",
        pre="qwen2",
        n_tokens=len(tokens),
        special={},
        chat_template=None,
    )


def sums_for(mapped: MappedModel, *, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    """Random sums of squared activations for all matrices but the embedding, as an importance matrix holds them."""
    rng = np.random.default_rng(seed)
    matrices = [t for t in mapped.tensors if len(t.shape) == 2 and t.name not in {"token_embd.weight", "output.weight"}]
    return {t.name: rng.gamma(1.0, 100.0, t.shape[-1]).astype(np.float32) for t in matrices}


def with_tensors(mapped: MappedModel, *tensors: TensorMapping) -> MappedModel:
    """`mapped` with exactly these tensors."""
    return replace(mapped, tensors=tensors)
