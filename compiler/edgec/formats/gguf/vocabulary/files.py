"""The tokenizer files of a checkpoint, parsed once. Rule: what exists must be well formed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.errors import InputError

Json = Mapping[str, Any]


@dataclass(frozen=True)
class AddedToken:
    """A token matched in the text before the model runs."""

    id: int
    content: str
    special: bool = False
    normalized: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False


@dataclass(frozen=True)
class TokenizerFiles:
    """Parsed JSON files (None where missing) and raw ones by name."""

    config: Json
    tokenizer: Json | None
    tokenizer_config: Json | None
    added: tuple[AddedToken, ...]
    raw: Mapping[str, bytes]

    @property
    def settings(self) -> Json:
        """tokenizer_config.json, empty where it is missing."""
        return self.tokenizer_config or {}


def parse_json(raw: Mapping[str, bytes], name: str) -> Json | None:
    """The JSON object in file `name`, None where there is no such file. InputError when it is no JSON object."""
    data = raw.get(name)
    if data is None:
        return None
    try:
        value = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError.of(
            f"not valid JSON: {error}", place=name, hint="download the file again; it may be cut short"
        ) from error
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number or a truth value")
        hint = "download the file again; this is another one"
        raise InputError.of(f"a JSON object is expected, found {kind}", place=name, hint=hint)
    return value


def _added_token(entry: object, index: int) -> AddedToken:
    if (
        isinstance(entry, dict)
        and isinstance(entry.get("id"), int)
        and entry["id"] >= 0
        and isinstance(entry.get("content"), str)
    ):
        flags = {k: bool(entry.get(k)) for k in ("special", "normalized", "lstrip", "rstrip", "single_word")}
        return AddedToken(id=entry["id"], content=entry["content"], **flags)
    raise InputError.of(
        f"added_tokens[{index}] needs a number `id` and a text `content`",
        place="tokenizer.json",
        hint="save the tokenizer again with transformers' save_pretrained",
    )


def added_tokens(tokenizer: Json | None) -> tuple[AddedToken, ...]:
    """`added_tokens` of tokenizer.json. InputError when they are malformed."""
    entries = (tokenizer or {}).get("added_tokens") or []
    if not isinstance(entries, list):
        hint = "save the tokenizer again with transformers' save_pretrained"
        raise InputError.of("`added_tokens` must be a list", place="tokenizer.json", hint=hint)
    return tuple(_added_token(e, i) for i, e in enumerate(entries))


def read_files(raw: Mapping[str, bytes], config: Json) -> TokenizerFiles:
    """The tokenizer files among `raw` (contents by name). InputError when one is malformed."""
    tokenizer = parse_json(raw, "tokenizer.json")
    return TokenizerFiles(
        config=config,
        tokenizer=tokenizer,
        tokenizer_config=parse_json(raw, "tokenizer_config.json"),
        added=added_tokens(tokenizer),
        raw=raw,
    )
