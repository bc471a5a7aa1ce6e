"""Where each field of a protobuf text stands, which the protobuf library does not keep.

Rule: only for texts that the library has parsed already, so that no mistake of syntax needs a word here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgec.errors import Span

Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<word>[-+.\w]+)|(?P<mark>.)"""
)
_OPEN = {"{": "}", "<": ">"}


@dataclass(frozen=True)
class _Token:
    text: str
    offset: int


@dataclass
class _Scan:
    """The tokens of a text and the place of every field found so far."""

    tokens: list[_Token]
    at: int = 0
    found: dict[Path, _Token] = field(default_factory=dict)

    @property
    def next_text(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def take(self) -> _Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def took(self, *texts: str) -> bool:
        if self.next_text in texts:
            self.at += 1
            return True
        return False

    def fields(self, path: Path, end: str) -> None:
        """Fields up to `end`. Every field is numbered: `("input", 0)` is also where a single one stands."""
        counts: dict[str, int] = {}
        while self.at < len(self.tokens) and not self.took(end):
            name = self.take()
            self.took(":")
            if self.took("["):
                while not self.took("]"):
                    self._numbered(path, name, counts)
                    self.took(",")
            else:
                self._numbered(path, name, counts)
            self.took(",", ";")

    def _numbered(self, path: Path, name: _Token, counts: dict[str, int]) -> None:
        number = counts.get(name.text, 0)
        counts[name.text] = number + 1
        self._value((*path, name.text, number), name)

    def _value(self, path: Path, name: _Token) -> None:
        if self.next_text in _OPEN:
            self.found[path] = name
            self.fields(path, _OPEN[self.take().text])
            return
        value = self.take()
        # Texts that follow each other are one value.
        while value.text[:1] in "\"'" and self.next_text[:1] in ('"', "'"):
            self.take()
        self.found[path] = value


def field_places(text: str, file: str) -> Mapping[Path, Span]:
    """The place of each field of `text`, by its path with numbers after each name: `("input", 0, "dims", 1)`.

    A message is placed at its name, every other value at the value itself.
    """
    scan = _Scan(list(_tokens(text)))
    scan.fields((), "")
    lines = text.split("\n")
    return {path: _span(token, text, lines, file) for path, token in scan.found.items()}


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "skip":
            yield _Token(match.group(), match.start())


def _span(token: _Token, text: str, lines: list[str], file: str) -> Span:
    line = text.count("\n", 0, token.offset) + 1
    column = token.offset - (text.rfind("\n", 0, token.offset) + 1) + 1
    return Span(file, line, column, max(1, len(token.text)), lines[line - 1].rstrip("\r"))
