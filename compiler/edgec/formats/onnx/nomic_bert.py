"""The tensors of a Nomic BERT by what they do, in both spellings of their names, for the graph that edgec writes.

Rule: a tensor that is missing, or of another shape than config.json says, is refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgec.errors import InputError
from edgec.formats.onnx.encoder import Encoder
from edgec.source.model import TensorInfo

_WORDS = "embeddings.word_embeddings.weight"
_TYPES = "embeddings.token_type_embeddings.weight"
_PREFIXES = ("nomic_bert.", "bert.")
# What a matrix is called by transformers, and by the publisher; q, k and v are one matrix there.
_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_PUBLISHED_QKV = ("attn.Wqkv",)
_LAYER = {
    "attention": ("self_attn.o_proj", "attn.out_proj"),
    "up": ("mlp.up_proj", "mlp.fc11"),
    "gate": ("mlp.gate_proj", "mlp.fc12"),
    "down": ("mlp.down_proj", "mlp.fc2"),
    "attention_norm": ("post_attention_layernorm", "norm1"),
    "norm": ("post_mlp_layernorm", "norm2"),
}


def tensor_names(encoder: Encoder, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """The names: `words`, `types`, `norm` (without `.weight`), and of each layer `qkv`, a list, and those of a layer.

    Raises InputError for a checkpoint that is not the model of its config.json.
    """
    prefix = next((p for p in _PREFIXES if p + _WORDS in tensors), "")
    published = f"{prefix}emb_ln.weight" in tensors
    start = f"{prefix}encoder.layers" if published else f"{prefix}layers"
    layers = []
    for number in range(encoder.layers):
        at = f"{start}.{number}"
        names = {part: f"{at}.{both[published]}" for part, both in _LAYER.items()}
        layers.append({"qkv": [f"{at}.{part}" for part in (_PUBLISHED_QKV if published else _QKV)], **names})
    found = {
        "words": prefix + _WORDS,
        "types": prefix + _TYPES,
        "norm": f"{prefix}emb_ln" if published else f"{prefix}embeddings.LayerNorm",
        "layers": layers,
    }
    _require(tensors, dict(_shapes(encoder, found)))
    return found


def _shapes(encoder: Encoder, names: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, inner = encoder.width, encoder.inner
    yield names["words"], (encoder.vocabulary, width)
    yield names["types"], (encoder.types, width)
    yield from _norm(names["norm"], width)
    for layer in names["layers"]:
        rows = 3 * width // len(layer["qkv"])
        yield from ((f"{name}.weight", (rows, width)) for name in layer["qkv"])
        yield f"{layer['attention']}.weight", (width, width)
        yield f"{layer['up']}.weight", (inner, width)
        yield f"{layer['gate']}.weight", (inner, width)
        yield f"{layer['down']}.weight", (width, inner)
        yield from _norm(layer["attention_norm"], width)
        yield from _norm(layer["norm"], width)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f"{name}.{part}", (width,)) for part in ("weight", "bias"))


def _require(tensors: Mapping[str, TensorInfo], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        if name not in tensors:
            raise InputError.of(
                f"the checkpoint has no tensor {name}",
                place="*.safetensors",
                hint="download it again; config.json and the weights must be of one model",
            )
        if tensors[name].shape != shape:
            raise InputError.of(
                f"{name} has the shape {tensors[name].shape}, but config.json says {shape}",
                place="*.safetensors",
                hint="compare with the config.json of the model's publisher",
            )
