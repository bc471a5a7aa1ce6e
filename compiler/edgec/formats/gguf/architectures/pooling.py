"""How a sentence-transformers model makes one vector of a text. Rule: what llama.cpp cannot pool alike is refused."""

from __future__ import annotations

from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.architectures.config import Config
from edgec.formats.gguf.architectures.files import read_list, read_object
from edgec.formats.gguf.architectures.metadata import MetadataWriter
from edgec.source.model import CheckpointHeader

# llama.cpp's numbers, by sentence-transformers' names; the older spelling has one flag per kind.
_KINDS = {"mean": 1, "cls": 2, "lasttoken": 3}
_FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "lasttoken"}
# A head gives a score instead of an embedding.
RANK = 4
# What may follow the transformer: pooling, and the normalization that every user of embeddings does anyway.
_MODULES = ("Transformer", "Pooling", "Normalize")


def write_pooling(header: CheckpointHeader, metadata: MetadataWriter) -> bool:
    """Writes `pooling_type` from modules.json; without that file nothing. Returns whether it was written."""
    modules = read_list(header, "modules.json")
    if modules is None:
        return False
    names = [_class_of(module) for module in modules]
    for name in names:
        if name not in _MODULES:
            raise InputError.of(
                f"module {name!r} cannot be converted: llama.cpp computes {', '.join(_MODULES)}",
                place="modules.json",
                hint="use an embedding model without this module",
            )
    if "Pooling" not in names:
        return False
    module = modules[names.index("Pooling")]
    metadata.integer("pooling_type", _KINDS[_kind(header, f"{module.get('path')}/config.json")])
    return True


def _class_of(module: Any) -> str:
    kind = module.get("type") if isinstance(module, dict) else None
    if not isinstance(kind, str):
        raise InputError.of("a module has no type", place="modules.json", hint="download the model's small files again")
    return kind.rsplit(".", 1)[-1]


def _kind(header: CheckpointHeader, place: str) -> str:
    values = read_object(header, place)
    if values is None:
        raise InputError.of(
            f"{place} is missing, but modules.json names it", place="modules.json", hint="download the file as well"
        )
    config = Config(values, place)
    chosen = [k.removeprefix("pooling_mode_") for k in values if k.startswith("pooling_mode_") and config.flag(k)]
    known = [_FLAGS[f"pooling_mode_{k}"] for k in chosen if f"pooling_mode_{k}" in _FLAGS]
    if not chosen:
        chosen = [config.text("pooling_mode", default="mean")]
        known = [k for k in chosen if k in _KINDS]
    if len(chosen) != 1 or len(known) != 1:
        raise InputError.of(
            f"pooling {' + '.join(chosen)} cannot be converted; llama.cpp pools by {', '.join(_KINDS)}",
            place=place,
            hint="use an embedding model with one of these",
        )
    return known[0]
