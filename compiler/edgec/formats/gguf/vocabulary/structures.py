"""Split patterns by llama.cpp's pre-tokenizer names. Rule: a name is here only if a test proves equal ids with it."""

from __future__ import annotations

from dataclasses import dataclass

_ANY_CASE = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"

QWEN2 = _ANY_CASE + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _TAIL


@dataclass(frozen=True)
class Structure:
    """What llama.cpp does under a name: isolated splits in order; `ignore_merges`: whole words in the vocabulary win."""

    name: str
    steps: tuple[str, ...]
    ignore_merges: bool = False


STRUCTURES: tuple[Structure, ...] = (Structure("qwen2", (QWEN2,)),)
