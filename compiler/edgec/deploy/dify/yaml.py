"""Data written as YAML that Dify's daemon (Go, YAML 1.2) and its SDK (PyYAML, YAML 1.1) read alike.

Rule: a text that one of the two could take for something else (`no`, `1.0`, `2025-01-01`, `12:30`) is quoted, a time is
not, because the daemon reads times only without quotes.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Texts that mean themselves in both versions: a letter, then letters, digits, `_`, `-`, `.`, `/`.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def to_yaml(value: Mapping[str, Any] | Sequence[Any]) -> bytes:
    """`value` as a YAML document: mappings with text keys, sequences, texts, numbers, truth values, times, None."""
    return ("\n".join(_block(value)) + "\n").encode()


def _block(value: Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(f"{_scalar(key)}:", item)
    else:
        for item in value:
            yield from _item(item)


def _entry(head: str, item: Any) -> Iterator[str]:
    if _is_block(item):
        yield head
        yield from (f"  {line}" for line in _block(item))
    else:
        yield f"{head} {_scalar(item)}"


def _item(item: Any) -> Iterator[str]:
    if not _is_block(item):
        yield f"- {_scalar(item)}"
        return
    for number, line in enumerate(_block(item)):
        yield f"{'- ' if number == 0 else '  '}{line}"


def _is_block(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple) and bool(value)


def _scalar(value: Any) -> str:
    match value:
        case str():
            if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
                return value
            # A JSON string is a double-quoted text of YAML, but for characters that YAML wants escaped.
            return "".join(c if c.isprintable() else _escaped(c) for c in json.dumps(value, ensure_ascii=False))
        case datetime.datetime():
            return value.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case float():
            mantissa, e, exponent = json.dumps(value, allow_nan=False).partition("e")
            # YAML 1.1 takes `1e-05` for a text.
            return f"{mantissa}{'' if '.' in mantissa or not e else '.0'}{e}{exponent}"
        case bool() | int() | None:
            return json.dumps(value)
        case Mapping():
            return "{}"
        case list() | tuple():
            return "[]"
    raise TypeError(f"no YAML for {type(value).__name__}")


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
