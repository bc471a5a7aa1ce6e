"""Recognises llama.cpp's pre-tokenizer from tokenizer.json's own structure.

Rule: never from the vocabulary; what is not known fails closed with the line to write into the recipe.
"""

from __future__ import annotations

from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.vocabulary.files import Json
from edgec.formats.gguf.vocabulary.structures import STRUCTURES


def _steps(pre_tokenizer: Any) -> tuple[str, ...] | None:
    """The canonical split steps, None when a step has no canonical form."""
    if not isinstance(pre_tokenizer, dict):
        return None
    steps: list[str] = []
    parts = pre_tokenizer["pretokenizers"] if pre_tokenizer.get("type") == "Sequence" else [pre_tokenizer]
    for part in parts:
        if part.get("type") == "Split" and part.get("behavior") == "Isolated" and "Regex" in part.get("pattern", {}):
            steps.append(part["pattern"]["Regex"])
        elif part.get("type") != "ByteLevel" or part.get("use_regex", True) or part.get("add_prefix_space", True):
            return None
    return tuple(steps)


def recognise(tokenizer: Json) -> str:
    """llama.cpp's name of the pre-tokenizer in `tokenizer`. InputError when there is none that gives the same ids."""
    steps = _steps(tokenizer.get("pre_tokenizer"))
    for structure in STRUCTURES:
        if structure.steps == steps:
            return structure.name
    names = ", ".join(sorted(s.name for s in STRUCTURES))
    raise InputError.of(
        f"the pre-tokenizer is not known: {tokenizer.get('pre_tokenizer')}",
        place="tokenizer.json",
        hint=f"name the one llama.cpp has for it in the recipe: `tokenizer: {{pre: ...}}`, one of {names}",
    )
