"""Whether the special tokens that a checkpoint names exist: with an end token that does not, an answer never ends.

Rule: a beginning or an end that does not exist is refused, as a name and as an id; other kinds change no answer and
are noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgec.errors import Diagnostic, InputError
from edgec.formats.gguf.vocabulary.files import Json, TokenizerFiles, parse_json

_REFUSED = ("bos", "eos")
_NOTED = ("unk", "sep", "pad", "cls", "mask")
_NAMING = ("tokenizer_config.json", "special_tokens_map.json")
_NUMBERING = ("config.json", "generation_config.json")


def require_special_tokens(files: TokenizerFiles, tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Notes on special tokens that do not exist. `tokens`: the vocabulary's texts by id.

    Raises InputError for every bos and eos that is named, or numbered, and does not exist.
    """
    known = _known(files, tokens)
    documents = _documents(files)
    mistakes = [
        *(m for name in _NAMING for m in _unknown_names(documents.get(name, {}), name, known)),
        *(m for name in _NUMBERING for m in _unknown_ids(documents.get(name, {}), name, tokens)),
    ]
    if mistakes:
        raise InputError(*mistakes)
    return tuple(
        f"the {kind} token {text!r} of {name} is not in the vocabulary: ignored"
        for name in _NAMING
        for kind in _NOTED
        if (text := token_text(documents.get(name, {}).get(f"{kind}_token"))) is not None and text not in known
    )


def token_text(entry: object) -> str | None:
    """The text of a token that is written as a string or as an added-token object."""
    if isinstance(entry, dict):
        entry = entry.get("content")
    return entry if isinstance(entry, str) and entry else None


def _documents(files: TokenizerFiles) -> Mapping[str, Json]:
    parsed = {name: parse_json(files.raw, name) or {} for name in (*_NAMING, "generation_config.json")}
    return {**parsed, "config.json": files.config}


def _known(files: TokenizerFiles, tokens: tuple[str, ...]) -> set[str]:
    """Texts as the tokenizer's own files spell them, and as llama.cpp does."""
    added: Any = files.settings.get("added_tokens_decoder")
    entries = added.values() if isinstance(added, dict) else ()
    vocab: Any = ((files.tokenizer or {}).get("model") or {}).get("vocab") or ()
    listed = (entry[0] if isinstance(entry, list) and entry else entry for entry in vocab)
    contents = (token_text(entry) for entry in entries)
    return {*tokens, *(t.content for t in files.added), *(c for c in contents if c), *map(str, listed)}


def _unknown_names(document: Json, place: str, known: set[str]) -> Iterator[Diagnostic]:
    for kind in _REFUSED:
        text = token_text(document.get(f"{kind}_token"))
        if text is not None and text not in known:
            yield Diagnostic(
                f"the {kind} token {text!r} is not in the vocabulary{_never_ends(kind)}",
                hint=f"correct `{kind}_token`, or use the tokenizer that belongs to this checkpoint",
                place=place,
            )


def _unknown_ids(document: Json, place: str, tokens: tuple[str, ...]) -> Iterator[Diagnostic]:
    for kind in _REFUSED:
        value = document.get(f"{kind}_token_id")
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and not isinstance(number, bool) and not 0 <= number < len(tokens):
                yield Diagnostic(
                    f"the {kind} token has id {number}, but the vocabulary has {len(tokens)} entries"
                    f"{_never_ends(kind)}",
                    hint=f"correct `{kind}_token_id`, or `vocab_size` in config.json",
                    place=place,
                )


def _never_ends(kind: str) -> str:
    return ": an answer would never end" if kind == "eos" else ""
