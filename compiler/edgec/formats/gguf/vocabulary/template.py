"""The chat template. Rule: the recipe's, tokenizer_config.json's, chat_template.jinja, chat_template.json."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.model import KeyValue
from edgec.formats.gguf.vocabulary.entries import text, texts
from edgec.formats.gguf.vocabulary.files import TokenizerFiles, parse_json

OWN_TEMPLATE = "write the template to use to a file and name it: `tokenizer: {chat_template: chat.jinja}`"
_NAME_CHARACTERS = frozenset(string.ascii_letters + string.digits)


def _decode(files: TokenizerFiles, name: str) -> str | None:
    data = files.raw.get(name)
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError.of(f"not valid UTF-8: {error}", place=name, hint="save it as UTF-8") from error


def _from_files(files: TokenizerFiles) -> tuple[Any, str]:
    """What stands as the template, and the file it stands in."""
    if "chat_template" in files.settings:
        return files.settings["chat_template"], "tokenizer_config.json"
    jinja = _decode(files, "chat_template.jinja")
    if jinja is None:
        return (parse_json(files.raw, "chat_template.json") or {}).get("chat_template"), "chat_template.json"
    extra = sorted(n for n in files.raw if n.startswith("additional_chat_templates/") and n.endswith(".jinja"))
    if not extra:
        return jinja, "chat_template.jinja"
    named = [{"name": PurePosixPath(n).stem, "template": _decode(files, n)} for n in extra]
    return [{"name": "default", "template": jinja}, *named], "chat_template.jinja"


def _named(value: object, place: str) -> dict[str, str]:
    """Templates by cleaned name: llama.cpp's keys allow ASCII letters, digits and underscores."""
    out: dict[str, str] = {}
    for entry in value if isinstance(value, list) else []:
        name = entry.get("name") if isinstance(entry, Mapping) else None
        template = entry.get("template") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or not name or not isinstance(template, str):
            raise InputError.of(
                "each entry of `chat_template` needs a text `name` and `template`", place=place, hint=OWN_TEMPLATE
            )
        out["".join(c if c in _NAME_CHARACTERS else "_" for c in name)] = template
    return out


def chat_template(files: TokenizerFiles, override: str | None) -> tuple[str | None, str | None, tuple[KeyValue, ...]]:
    """The default chat template (None without one), its file (None for the recipe's) and the metadata of all."""
    if override is not None:
        return override, None, (text("tokenizer.chat_template", override),)
    value, place = _from_files(files)
    if value is None:
        return None, None, ()
    if isinstance(value, str):
        return value, place, (text("tokenizer.chat_template", value),)
    if not isinstance(value, list):
        raise InputError.of(
            "`chat_template` must be a text or a list of named templates", place=place, hint=OWN_TEMPLATE
        )
    named = _named(value, place)
    default = named.pop("default", None)
    entries = [text(f"tokenizer.chat_template.{name}", template) for name, template in named.items()]
    if named:
        # Sorted, because the converter's order (a set's) changes from run to run.
        entries.append(texts("tokenizer.chat_templates", sorted(named)))
    if default is not None:
        entries.append(text("tokenizer.chat_template", default))
    return default, place, tuple(entries)
