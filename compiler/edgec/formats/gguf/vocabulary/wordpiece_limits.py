"""How llama.cpp's WordPiece treats text, as normalizer steps of tokenizer.json, so that the proof can tell the limit.

Rule: facts of llama.cpp's source alone: a syllable of Hangul keeps its first consonant, every combining mark goes
(Hugging Face keeps spacing ones), more control characters are spaces, and words have no greatest length.
"""

from __future__ import annotations

from typing import Any

from edgec.formats.gguf.vocabulary.added import SPACE

_HANGUL_START, _SYLLABLES_PER_CONSONANT, _CONSONANTS, _CONSONANT_START = 0xAC00, 588, 19, 0x1100
# Control characters that are white space in Unicode; Hugging Face removes them.
_CONTROL_SPACES = "[\u000b\u000c\u001c-\u001f\u0085]"
# llama.cpp marks the start of words with U+2581, so that one inside of a word starts another.
_INNER_MARK = f"(?<=[^\\s{SPACE}]){SPACE}(?=[^\\s{SPACE}])"
_NO_GREATEST_LENGTH = 1 << 30


def _replace(regex: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": regex}, "content": content}


def _hangul() -> list[dict[str, Any]]:
    steps = []
    for i in range(_CONSONANTS):
        first = _HANGUL_START + i * _SYLLABLES_PER_CONSONANT
        last = first + _SYLLABLES_PER_CONSONANT - 1
        steps.append(_replace(f"[{chr(first)}-{chr(last)}]", chr(_CONSONANT_START + i)))
    return steps


def _bert_normalizer(tokenizer: dict[str, Any]) -> dict[str, Any]:
    waiting = [tokenizer.get("normalizer")]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, dict) and part.get("type") == "BertNormalizer":
            return part
        if isinstance(part, dict):
            waiting += part.get("normalizers") or []
    return {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True}


def as_llama_cpp(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """`tokenizer` with llama.cpp's treatment of text. Special tokens are matched before it, as llama.cpp does."""
    bert = _bert_normalizer(tokenizer)
    lowercase = bool(bert.get("lowercase", True))
    strips = lowercase if bert.get("strip_accents") is None else bool(bert["strip_accents"])
    steps = [_replace(_CONTROL_SPACES, " "), _replace(_INNER_MARK, " ")]
    if strips:
        steps += [*_hangul(), {"type": "NFD"}, _replace(r"\p{M}", "")]
    if lowercase:
        # One letter stays one letter: the dotted capital I has a lower-case form of two.
        steps.append(_replace("\u0130", "i"))
    steps.append({**bert, "strip_accents": False})
    model = {**tokenizer["model"], "max_input_chars_per_word": _NO_GREATEST_LENGTH}
    return {**tokenizer, "normalizer": {"type": "Sequence", "normalizers": steps}, "model": model}
