"""How an encoder makes one vector of a text, from the small files of sentence-transformers.

Rule: a way that is not known is refused; one that the files do not tell is assumed, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from edgec.errors import InputError

# `score`: the one number that a reranker gives to a pair of texts.
Pooling = Literal["mean", "cls", "score"]
_MODULES = ("Transformer", "Pooling", "Normalize")
_FLAGS: Mapping[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def read_pooling(files: Mapping[str, bytes]) -> tuple[Pooling, str | None]:
    """The pooling, and a note where it is assumed. Raises InputError for another one, and for other modules."""
    if "modules.json" not in files:
        return "mean", "the checkpoint does not say how it pools (no modules.json): the mean over tokens is assumed"
    kinds = _kinds(files)
    strange = [kind for kind in kinds if kind not in _MODULES]
    if strange or "Pooling" not in kinds:
        raise InputError.of(
            f"a sentence encoder of {', '.join(kinds) or 'no modules'} cannot be proven",
            place="modules.json",
            hint="use a model of a transformer, a pooling and a normalization",
        )
    flags = json_object(files, "1_Pooling/config.json")
    chosen = [name for name, value in flags.items() if name.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in _FLAGS:
        raise InputError.of(
            f"pooling by {' and '.join(chosen) or 'nothing'} is not known here",
            place="1_Pooling/config.json",
            hint="use a model that pools by the mean or by the first token",
        )
    return _FLAGS[chosen[0]], None


def normalizes(files: Mapping[str, bytes]) -> bool | None:
    """Whether the model gives its vectors the length 1; None where its files do not say."""
    return "Normalize" in _kinds(files) if "modules.json" in files else None


def _kinds(files: Mapping[str, bytes]) -> list[str]:
    """The modules of a sentence encoder, by their classes."""
    modules = _parsed(files, "modules.json")
    named = modules if isinstance(modules, list) else []
    return [str(m.get("type", "")).rpartition(".")[2] for m in named if isinstance(m, dict)]


def longest_text(files: Mapping[str, bytes], positions: int) -> int:
    """Tokens of a text as the model's publisher cuts it, at most `positions`."""
    value = json_object(files, "sentence_bert_config.json").get("max_seq_length")
    return min(value, positions) if isinstance(value, int) and value > 1 else positions


def json_object(files: Mapping[str, bytes], name: str) -> Mapping[str, Any]:
    """A small file's object; empty without the file. Raises InputError for a file that is no JSON."""
    value = _parsed(files, name) if name in files else {}
    return value if isinstance(value, dict) else {}


def _parsed(files: Mapping[str, bytes], name: str) -> Any:
    try:
        return json.loads(files[name])
    except ValueError as error:
        hint = "download the model's small files again"
        raise InputError.of(f"cannot be read: {error}", place=name, hint=hint) from error
