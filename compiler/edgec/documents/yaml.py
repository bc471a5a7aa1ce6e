"""YAML 1.2 read into a marked document.

Rule: a value stands in exactly one place and says what it is: anchors, aliases, merge keys, tags and several documents
in one file are refused, duplicate keys are mistakes, and only the core schema's numbers are numbers (`yes` is a text).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamStartEvent,
)

from edgec.documents.marked import Entry, Mapping, MarkedDocument, Node, Scalar, ScalarValue, Sequence
from edgec.documents.text import SourceText, check_printable, read_text
from edgec.errors import Diagnostic, InputError, Span

MAX_DEPTH = 32
OPEN = "${{"
# YAML 1.2 core schema, section 10.3.2; longer digit strings are texts (no field takes such a number).
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_OCTAL = re.compile(r"0o[0-7]{1,40}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?((\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)")
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NAN = frozenset({".nan", ".NaN", ".NAN"})

# What the reader says, in part -> what to do.
_SYNTAX_HINTS = (
    ("mapping values are not allowed", "put a text that contains `: ` in quotes, or fix the indentation"),
    ("cannot start any token", "indent with spaces, not tabs; a text that begins with `@` or `%` needs quotes"),
    ("could not find expected ':'", "write `key: value`, with a space after the colon"),
    ("expected <block end>", "give all keys of a mapping the same indentation"),
    ("while scanning a quoted scalar", "close the quote"),
    ("unknown escape character", "double the backslash, or use single quotes"),
    ("expected ',' or", "close the bracket, or put a comma between the items"),
)  # fmt: skip


def load_marked(path: Path) -> MarkedDocument:
    """The document in `path`. Mistakes that do not stop the reading are in `mistakes`; others raise InputError."""
    source = read_text(path)
    root, mistakes = compose(source)
    if isinstance(root, Scalar) and not root.text and root.value is None:
        raise InputError(Diagnostic("the file is empty", "begin with `schema: ...`", place=source.file))
    if not isinstance(root, Mapping):
        raise InputError(Diagnostic("the file is not a mapping", "write `key: value` lines", root.span))
    return MarkedDocument(path, root, mistakes)


def compose(source: SourceText) -> tuple[Node, tuple[Diagnostic, ...]]:
    """The one node in `source` (an empty text is null), and the mistakes that did not stop the reading."""
    check_printable(source)
    reader = _Reader(source)
    try:
        return reader.document(), tuple(reader.mistakes)
    except YAMLError as error:
        raise InputError(_syntax_mistake(source, error)) from error


def resolve_plain(text: str) -> ScalarValue:
    """The value of an unquoted scalar by the core schema."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INFINITY.fullmatch(text):
        return -math.inf if match.group(1) == "-" else math.inf
    return math.nan if text in _NAN else text


class _Reader:
    """Builds nodes from the parser's events, once, and collects mistakes on the way."""

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.mistakes: list[Diagnostic] = []
        self._events: Iterator[Event] = YAML(typ="safe", pure=True).parse(source.text)

    def document(self) -> Node:
        node: Node = Scalar(None, "", self.source.span(0))
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._mistake(event, "a second document begins here", "keep one document per file")
                    break
                if event.version is not None and tuple(event.version) != (1, 2):
                    self._mistake(event, "not YAML 1.2", "remove the `%YAML` line; the file is read as YAML 1.2")
            elif isinstance(event, (ScalarEvent, SequenceStartEvent, MappingStartEvent, AliasEvent)):
                node = self._node(event, 1)
            elif isinstance(event, StreamStartEvent):
                continue
        return node

    def _node(self, event: Any, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise InputError(Diagnostic(f"nested deeper than {MAX_DEPTH} levels", "flatten it", self._span(event)))
        if isinstance(event, AliasEvent):
            self._mistake(event, f"the alias `*{event.anchor}` is not supported", _NO_ANCHORS)
            return Scalar(None, event.anchor, self._span(event), broken=True)
        broken = self._refuse_properties(event)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, broken)
        if isinstance(event, SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(item := next(self._events), SequenceEndEvent):
                items.append(self._node(item, depth + 1))
            return Sequence(tuple(items), self._span(event))
        return self._mapping(event, depth)

    def _mapping(self, event: Any, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        while not isinstance(key_event := next(self._events), MappingEndEvent):
            key = self._node(key_event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Scalar):
                self._mistake(key_event, "a key must be a plain text", "write `key: value`")
            elif key.text == "<<":
                self._mistake(key_event, "the merge key `<<` is not supported", _NO_ANCHORS)
            elif OPEN in key.text:
                self._mistake(key_event, "a template cannot be a key", "use templates in values only")
            elif first := entries.get(key.text):
                hint = f"it stands at {first.span.line}:{first.span.column} already; keep one of them"
                self._mistake(key_event, f"the key `{key.text}` is given twice", hint)
            elif not key.broken:
                entries[key.text] = Entry(key.text, key.span, value)
        return Mapping(tuple(entries.values()), self._span(event))

    def _scalar(self, event: ScalarEvent, broken: bool) -> Scalar:
        text: str = event.value
        value = resolve_plain(text) if event.style is None else text
        expressions: tuple[Span, ...] = ()
        if OPEN in text:
            begin, end = event.start_mark.index, event.end_mark.index
            found = [m.start() for m in re.finditer(re.escape(OPEN), self.source.text[begin:end])]
            expressions = tuple(self._expression(begin + at) for at in found)
        return Scalar(value, text, self._span(event), expressions, broken=broken)

    def _expression(self, at: int) -> Span:
        close = self.source.text.find("}}", at)
        return self.source.span(at, close + 2 if close >= 0 else at + len(OPEN))

    def _refuse_properties(self, event: Any) -> bool:
        if event.anchor is not None:
            self._mistake(event, f"the anchor `&{event.anchor}` is not supported", _NO_ANCHORS)
        tag = event.tag if event.ctag is None else str(event.ctag).replace("tag:yaml.org,2002:", "!!")
        if tag is None:
            return event.anchor is not None
        self._mistake(event, f"the tag `{tag}` is not supported", "remove it; put a text in quotes to keep it a text")
        return True

    def _mistake(self, event: Any, message: str, hint: str) -> None:
        self.mistakes.append(Diagnostic(message, hint, self._span(event)))

    def _span(self, event: Any) -> Span:
        return self.source.span(event.start_mark.index, event.end_mark.index)


_NO_ANCHORS = "write the value out, or share it with `vars:` or `extends:`"


def _syntax_mistake(source: SourceText, error: YAMLError) -> Diagnostic:
    if not isinstance(error, MarkedYAMLError):
        return Diagnostic(f"not valid YAML: {error}", "fix the syntax", place=source.file)
    # What is never closed is found at the end of the file; the opening is the place to look at.
    ran_out = "end of stream" in str(error.problem) or "<stream end>" in str(error.problem)
    mark = (error.context_mark if ran_out else None) or error.problem_mark or error.context_mark
    said = " ".join(part for part in (error.context, error.problem) if part)
    span = source.span(mark.index) if mark is not None else source.span(0)
    if OPEN in span.source_line:
        hint = "put a value with a template in quotes"
    else:
        hint = next((do for part, do in _SYNTAX_HINTS if part in said), "fix the syntax on this line or the one above")
    return Diagnostic(f"not valid YAML: {said}", hint, span)
