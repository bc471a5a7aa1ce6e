"""Whether the two files that may hold a WordPiece vocabulary, vocab.txt and tokenizer.json, are of one model.

Rule: only a token that both have, under different ids, is a contradiction: either file may have tokens that the other
lacks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgec.errors import InputError


def require_one_vocabulary(files: Mapping[str, bytes]) -> None:
    """Raises InputError when tokenizer.json has tokens of vocab.txt under other ids. Reads no other tokenizers."""
    if "vocab.txt" not in files or "tokenizer.json" not in files:
        return
    vocabulary = _vocabulary(files["tokenizer.json"])
    # By line feeds alone: characters that Unicode calls ends of lines are tokens of some models.
    lines = files["vocab.txt"].decode("utf-8", "replace").split("\n")
    listed = {line.rstrip("\r"): number for number, line in enumerate(lines)}
    shared = [token for token in listed if token in vocabulary]
    other = [token for token in shared if vocabulary[token] != listed[token]]
    if not other:
        return
    first = other[0]
    raise InputError.of(
        f"{len(other)} of {len(shared)} tokens have another id in vocab.txt than in tokenizer.json ({first!r}: "
        f"{listed[first]} and {vocabulary[first]}): one of the two files is of another model",
        place="tokenizer.json",
        hint="download both files again from the model's own folder, or remove the one that is not the model's",
    )


def _vocabulary(data: bytes) -> Mapping[str, Any]:
    """The ids of a WordPiece tokenizer; empty for another one, or for a file that others refuse."""
    try:
        model = json.loads(data)["model"]
        vocabulary = model["vocab"] if model["type"] == "WordPiece" else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return vocabulary if isinstance(vocabulary, dict) else {}
