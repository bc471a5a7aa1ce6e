"""What llama.cpp is known to do in another way than `tokenizers`, each as a changed tokenizer.json.

Rule: a limit is a fact about llama.cpp's source, and reproduces llama.cpp's ids exactly; the proof reports what it
explains by name and never takes it for equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgec.formats.gguf.vocabulary.added import SPACE, taken_for_control
from edgec.formats.gguf.vocabulary.byte_bpe import normalizers
from edgec.formats.gguf.vocabulary.files import Json
from edgec.formats.gguf.vocabulary.pretokenizer import canonical_steps
from edgec.formats.gguf.vocabulary.structures import BYTES, STRUCTURES
from edgec.formats.gguf.vocabulary.wordpiece_limits import as_llama_cpp

_Change = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Limit:
    """One known difference. `tokenizer_json()` is a tokenizer that has it too."""

    name: str
    explanation: str
    tokenizer_json: Callable[[], bytes]


@dataclass(frozen=True)
class _Known:
    name: str
    explanation: str
    applies: Callable[[Json], bool]
    change: _Change


def _without_nfc(tokenizer: dict[str, Any]) -> dict[str, Any]:
    kept = [step for step in normalizers(tokenizer) if step.get("type") != "NFC"]
    return {**tokenizer, "normalizer": {"type": "Sequence", "normalizers": kept} if kept else None}


def _runtime_steps(tokenizer: Json) -> tuple[str, ...] | None:
    steps = canonical_steps(tokenizer.get("pre_tokenizer"))
    return next((s.runtime for s in STRUCTURES if s.steps == steps and s.runtime), None)


def _with_runtime_steps(tokenizer: dict[str, Any]) -> dict[str, Any]:
    splits = [
        {"type": "Split", "pattern": {"Regex": step}, "behavior": "Isolated", "invert": False}
        for step in _runtime_steps(tokenizer) or ()
        if step != BYTES
    ]
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {**tokenizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*splits, letters]}}


def _added(tokenizer: Json) -> list[dict[str, Any]]:
    return [token for token in tokenizer.get("added_tokens") or [] if isinstance(token, dict)]


def _looks_like_control(token: Json) -> bool:
    return not token.get("special") and taken_for_control(str(token.get("content")))


def _with_control_tokens(tokenizer: dict[str, Any]) -> dict[str, Any]:
    tokens = [{**token, "special": True} if _looks_like_control(token) else token for token in _added(tokenizer)]
    return {**tokenizer, "added_tokens": tokens}


_FLAGS = ("lstrip", "rstrip", "single_word")


def _without_flags(tokenizer: dict[str, Any]) -> dict[str, Any]:
    return {**tokenizer, "added_tokens": [{**token, **dict.fromkeys(_FLAGS, False)} for token in _added(tokenizer)]}


def _marks_spaces(part: Any) -> bool:
    """Whether a pre-tokenizer puts a space before the text, unless one stands there."""
    return isinstance(part, dict) and part.get("type") == "Metaspace" and part.get("prepend_scheme") != "never"


def _with_space_before_all(tokenizer: dict[str, Any]) -> dict[str, Any]:
    steps = [{"type": "Prepend", "prepend": SPACE}, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    return {**tokenizer, "normalizer": {"type": "Sequence", "normalizers": steps}, "pre_tokenizer": None}


def _without_special(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """Control tokens cannot occur: each is spelt as a character that no text has."""
    control = {token["id"] for token in _added(tokenizer) if token.get("special")}
    vocab = [[f"\0{i}", s] if i in control else [t, s] for i, (t, s) in enumerate(tokenizer["model"]["vocab"])]
    kept = [token for token in _added(tokenizer) if not token.get("special")]
    return {**tokenizer, "added_tokens": kept, "post_processor": None, "model": {**tokenizer["model"], "vocab": vocab}}


_KNOWN = (
    _Known(
        "no Unicode normalisation",
        "llama.cpp does not normalise text to NFC as the model's tokenizer does; composed text is not affected",
        lambda t: any(step.get("type") == "NFC" for step in normalizers(t)),
        _without_nfc,
    ),
    _Known(
        "words split by ASCII case",
        "llama.cpp's pattern knows upper and lower case of ASCII alone and takes combining marks for signs",
        lambda t: _runtime_steps(t) is not None,
        _with_runtime_steps,
    ),
    _Known(
        "tokens taken for control tokens",
        "llama.cpp takes added tokens for control tokens by their look: they are not matched in plain text",
        lambda t: any(_looks_like_control(token) for token in _added(t)),
        _with_control_tokens,
    ),
    _Known(
        "spaces beside added tokens",
        "llama.cpp keeps the spaces beside added tokens that `lstrip`, `rstrip` or `single_word` are set for",
        lambda t: any(token.get(flag) for token in _added(t) for flag in _FLAGS),
        _without_flags,
    ),
    _Known(
        "space before the text",
        "llama.cpp puts a space before the text and after each special token, also where the model's tokenizer does "
        "not: before text that starts with a space, or after a special token",
        lambda t: t["model"].get("type") == "BPE" and _marks_spaces(t.get("pre_tokenizer")),
        _with_space_before_all,
    ),
    _Known(
        "text treatment of WordPiece",
        "llama.cpp keeps only the first consonant of a Hangul syllable, removes spacing marks of Indic scripts, takes "
        "some control characters for spaces and has no greatest word length: Korean and Indic text gets other ids",
        lambda t: t["model"].get("type") == "WordPiece",
        as_llama_cpp,
    ),
    _Known(
        "special tokens inside unigram text",
        "llama.cpp keeps special tokens out of plain text, where `tokenizers` finds them among the unigram's tokens",
        lambda t: t["model"].get("type") == "Unigram",
        _without_special,
    ),
)


def _changed(tokenizer: dict[str, Any], changes: tuple[_Known, ...]) -> bytes:
    for known in changes:
        tokenizer = known.change(tokenizer)
    return json.dumps(tokenizer, ensure_ascii=False).encode()


def limit_notes(tokenizer: Json) -> tuple[str, ...]:
    """What people should know of the limits that can show with this tokenizer, before it is built."""
    return tuple(known.explanation for known in _KNOWN if known.applies(tokenizer))


def known_limits(tokenizer_json: bytes) -> tuple[Limit, ...]:
    """The limits that can show with this tokenizer: each alone, then all together."""
    tokenizer: dict[str, Any] = json.loads(tokenizer_json)
    found = tuple(known for known in _KNOWN if known.applies(tokenizer))
    groups: list[tuple[_Known, ...]] = [(known,) for known in found]
    if len(found) > 1:
        groups.append(found)
    return tuple(
        Limit(
            name=" and ".join(known.name for known in group),
            explanation="; ".join(known.explanation for known in group),
            tokenizer_json=partial(_changed, tokenizer, group),
        )
        for group in groups
    )
