"""Recognises llama.cpp's pre-tokenizer from tokenizer.json's own structure.

Rule: never from the vocabulary; only spellings known to mean the same are taken as the same; what is not known fails
closed with the line to write into the recipe.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.vocabulary.files import Json
from edgec.formats.gguf.vocabulary.structures import (
    BYTES,
    CONTRACTIONS,
    GPT2,
    PUNCTUATION_RUNS,
    RUNTIME_NAMES,
    STRUCTURES,
    TOTAL_PATTERNS,
    Structure,
)

# Spellings with the same meaning, in the order they are replaced.
_SPELLINGS = (
    ("\r", r"\r"),
    ("\n", r"\n"),
    ("\t", r"\t"),
    (r"[\n\r]", r"[\r\n]"),
    (r"\p{N}{1}", r"\p{N}"),
    # Possessive quantifiers on a class that what follows cannot match: nothing could be given back.
    (r"[^\r\n\p{L}\p{N}]?+\p{L}", r"[^\r\n\p{L}\p{N}]?\p{L}"),
    (r"[^\s\p{L}\p{N}]++", r"[^\s\p{L}\p{N}]+"),
    ("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", CONTRACTIONS),
    ("'(?i:[sdmt]|ll|ve|re)", CONTRACTIONS),
)
_UNKNOWN = "the pre-tokenizer is none of those that llama.cpp is known to split alike"


def canonical_regex(pattern: str) -> str:
    """`pattern` in the spelling of the table."""
    for spelling, canonical in _SPELLINGS:
        pattern = pattern.replace(spelling, canonical)
    return pattern


def _split_step(part: Json) -> str | None:
    pattern = part.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    if not isinstance(regex, str):
        return None
    canonical = canonical_regex(regex)
    behavior, invert = part.get("behavior"), bool(part.get("invert"))
    kept = behavior == "Isolated" or (behavior == "Removed" and invert and canonical in TOTAL_PATTERNS)
    return canonical if kept else None


def _steps_of(part: Json) -> tuple[str, ...] | None:
    kind = part.get("type")
    if kind == "Split":
        step = _split_step(part)
        return None if step is None else (step,)
    if kind == "Digits":
        return (r"\p{N}" if part.get("individual_digits") else r"\p{N}+",)
    if kind == "Punctuation" and part.get("behavior", "Isolated") == "Contiguous":
        return (PUNCTUATION_RUNS,)
    if kind == "ByteLevel" and not part.get("add_prefix_space", True):
        return (GPT2, BYTES) if part.get("use_regex", True) else (BYTES,)
    return None


def canonical_steps(pre_tokenizer: Any) -> tuple[str, ...] | None:
    """The split steps of tokenizer.json's `pre_tokenizer`, None when one of them has no canonical form."""
    if not isinstance(pre_tokenizer, dict):
        return None
    if pre_tokenizer.get("type") != "Sequence":
        return _steps_of(pre_tokenizer)
    steps: list[str] = []
    for part in pre_tokenizer.get("pretokenizers") or []:
        found = canonical_steps(part)
        if found is None:
            return None
        steps += found
    return tuple(steps)


def _describe(pre_tokenizer: Any) -> str:
    """The parts of an unknown pre-tokenizer, for people."""
    if not isinstance(pre_tokenizer, dict):
        return "none"
    if pre_tokenizer.get("type") == "Sequence":
        return ", then ".join(_describe(part) for part in pre_tokenizer.get("pretokenizers") or [])
    shown = {k: v for k, v in pre_tokenizer.items() if k not in {"type", "trim_offsets"}}
    pattern = shown.pop("pattern", None)
    if isinstance(pattern, dict):
        shown = {**pattern, **shown}
    return f"{pre_tokenizer.get('type')}({', '.join(f'{k}={v}' for k, v in shown.items())})"


def _adds_space(pre_tokenizer: Any) -> bool:
    if not isinstance(pre_tokenizer, dict):
        return False
    parts = pre_tokenizer.get("pretokenizers") or []
    own = pre_tokenizer.get("type") == "ByteLevel" and pre_tokenizer.get("add_prefix_space", True)
    return bool(own) or any(_adds_space(part) for part in parts)


def recognise(tokenizer: Json, merges_reach_all: Callable[[], bool]) -> Structure:
    """The structure llama.cpp has for `tokenizer`. InputError when there is none that gives the same ids.

    `merges_reach_all`: whether merging gives every token of the vocabulary; then `ignore_merges` changes nothing.
    """
    pre_tokenizer = tokenizer.get("pre_tokenizer")
    steps = canonical_steps(pre_tokenizer)
    ignore = bool(tokenizer["model"].get("ignore_merges", False))
    alike = [s for s in STRUCTURES if s.steps == steps]
    for structure in alike:
        if structure.ignore_merges == ignore:
            return structure
    if alike and merges_reach_all():
        return alike[0]
    raise InputError.of(_reason(pre_tokenizer, alike, ignore), place="tokenizer.json", hint=_hint(alike))


def _reason(pre_tokenizer: Any, alike: list[Structure], ignore: bool) -> str:
    if alike:
        return (
            f"the pre-tokenizer is {alike[0].name}'s, but `ignore_merges` is {str(ignore).lower()}, for which "
            "llama.cpp has no name, and merges do not reach every token"
        )
    if _adds_space(pre_tokenizer):
        return "the pre-tokenizer adds a space before the text, which llama.cpp does not do for byte-level BPE"
    return f"{_UNKNOWN}: {_describe(pre_tokenizer)}"


def _hint(alike: list[Structure]) -> str:
    if alike:
        name = alike[0].name
        return (
            f"to build it as {name} all the same, write `tokenizer: {{pre: {name}}}`; the proof then compares the ids"
        )
    names = ", ".join(sorted(s.name for s in STRUCTURES))
    return (
        "if you know the name llama.cpp has for it, write it into the recipe: `tokenizer: {pre: <name>}`; "
        f"the proof then compares the ids. Names edgec recognises by itself: {names}"
    )


def checked_override(pre: str) -> str:
    """`pre` when the runtime knows it. InputError with the nearest names otherwise."""
    if pre in RUNTIME_NAMES:
        return pre
    near = difflib.get_close_matches(pre, sorted(RUNTIME_NAMES), n=3)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    raise InputError.of(
        f"llama.cpp has no pre-tokenizer {pre!r}",
        place="tokenizer.pre",
        hint=f"{meant}known names: {', '.join(sorted(RUNTIME_NAMES))}",
    )
