"""Models as llama.cpp's type policy sees them: names, rows' lengths and a few numbers, with two rows per matrix.

llama-quantize reads such files happily, so that its choices for an 80-layer model can be recorded in a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from edgec.formats.gguf.model import KeyValue, MappedModel, ModelShape, TensorMapping, ValueType
from edgec.formats.gguf.policy import is_quantizable, tensor_order
from edgec.formats.gguf.types import TensorType

_DECODER = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_FUSED = ("attn_qkv", "attn_output", "ffn_up", "ffn_down")
_ENCODER = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down")
_GATED_ENCODER = ("attn_qkv", "attn_output", "ffn_up", "ffn_gate", "ffn_down")


def _model(
    arch: str,
    n_layer: int,
    heads: tuple[int, int],
    columns: tuple[int, int],
    *,
    matrices: tuple[str, ...] = _DECODER,
    tied: bool = False,
) -> MappedModel:
    """`columns`: of ffn_down, and of every other matrix. `heads`: of queries, of keys and values."""
    inner, width = columns
    encoder = arch in {"bert", "nomic-bert"}
    tensors = [TensorMapping("token_embd.weight", "e", (2, width)), TensorMapping("output_norm.weight", "n", (width,))]
    if not tied and not encoder:
        tensors.append(TensorMapping("output.weight", "o", (2, width)))
    if encoder:
        tensors.append(TensorMapping("token_types.weight", "t", (2, width), fixed_type="f32"))
    for i in range(n_layer):
        tensors += [TensorMapping(f"blk.{i}.{m}.weight", m, (2, inner if m == "ffn_down" else width)) for m in matrices]
    shape = ModelShape(n_layer, width, inner, *heads, width // heads[0], width // heads[0], 4096, 512)
    kind = "encoder" if encoder else "decoder"
    return MappedModel(arch, kind, shape, tuple(_metadata(arch, shape)), tuple(tensors))


def _metadata(arch: str, shape: ModelShape) -> Iterator[KeyValue]:
    yield KeyValue("general.architecture", ValueType.STRING, arch)
    numbers = {
        "block_count": shape.n_layer,
        "context_length": shape.context_length,
        "embedding_length": shape.n_embd,
        "feed_forward_length": shape.n_ff,
        "attention.head_count": shape.n_head,
        "attention.head_count_kv": shape.n_head_kv,
        "rope.dimension_count": shape.head_dim_k,
    }
    for key, value in numbers.items():
        yield KeyValue(f"{arch}.{key}", ValueType.UINT32, value)
    for key in ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"):
        yield KeyValue(f"{arch}.{key}", ValueType.FLOAT32, 1e-5)
    yield KeyValue("tokenizer.ggml.model", ValueType.STRING, "no_vocab")


MODELS = {
    "llama-16-gqa4": _model("llama", 16, (8, 2), (768, 256)),
    "llama-22-mha-tied": _model("llama", 22, (8, 8), (512, 256), tied=True),
    "llama-80-gqa8": _model("llama", 80, (8, 1), (512, 256)),
    "llama-80-mha": _model("llama", 80, (8, 8), (512, 256)),
    "qwen2-24-width896": _model("qwen2", 24, (14, 2), (4864, 896), tied=True),
    "qwen2-80": _model("qwen2", 80, (8, 2), (512, 256)),
    "qwen3-28": _model("qwen3", 28, (16, 8), (512, 256), tied=True),
    "gemma3-26-gqa4": _model("gemma3", 26, (4, 1), (768, 1152), tied=True),
    "phi3-32-fused": _model("phi3", 32, (8, 8), (512, 256), matrices=_FUSED),
    "bert-6-width384": _model("bert", 6, (12, 12), (1536, 384), matrices=_ENCODER),
    "nomic-bert-12": _model("nomic-bert", 12, (12, 12), (3072, 768), matrices=_GATED_ENCODER),
    "llama-8-width40": _model("llama", 8, (5, 5), (96, 40)),
}


def brief(types: dict[str, TensorType]) -> dict[str, str]:
    """`types` in few words: per kind of matrix the runs of types over the layers, as `q6_k*2 q4_k`."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(types, key=tensor_order):
        kinds.setdefault(name.split(".")[2] if name.startswith("blk.") else name, []).append(types[name].label)
    runs = {kind: [(label, len(list(group))) for label, group in groupby(labels)] for kind, labels in kinds.items()}
    return {kind: " ".join(f"{n}*{c}" if c > 1 else n for n, c in run) for kind, run in runs.items()}


def quantizable(mapped: MappedModel) -> set[str]:
    """Names of the tensors whose types a scheme chooses."""
    return {t.name for t in mapped.tensors if is_quantizable(t)}
