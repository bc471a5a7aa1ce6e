"""Nouns of a marked document: a tree of values that know where they were written.

Rule: a tree never changes; extending, overriding and rendering templates make a new tree whose values keep their marks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgec.errors import Diagnostic, Span

ScalarValue = str | int | float | bool | None
Step = str | int


@dataclass(frozen=True)
class Scalar:
    """One value. `text` is what was written, without quotes; `expressions` are the places of its `${{`.

    `from_env`: the value came out of the environment, so no message may show it. `broken`: a mistake was already
    reported here, so no second one is wanted.
    """

    value: ScalarValue
    text: str
    span: Span
    expressions: tuple[Span, ...] = ()
    from_env: bool = False
    broken: bool = False


@dataclass(frozen=True)
class Sequence:
    """A list. `span` is where it begins."""

    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True)
class Entry:
    """A key and its value; `span` is the key's place."""

    key: str
    span: Span
    value: Node


@dataclass(frozen=True)
class Mapping:
    """A mapping in the order it was written, keys unique. `span` is where it begins."""

    entries: tuple[Entry, ...]
    span: Span

    def entry(self, key: Step) -> Entry | None:
        """The entry of `key`, None where there is none."""
        return next((e for e in self.entries if e.key == key), None)

    def with_entry(self, entry: Entry) -> Mapping:
        """The same mapping with `entry` added, or in the place of the one with its key."""
        if self.entry(entry.key) is None:
            return Mapping((*self.entries, entry), self.span)
        return Mapping(tuple(entry if e.key == entry.key else e for e in self.entries), self.span)

    def without(self, key: str) -> Mapping:
        """The same mapping without `key`."""
        return Mapping(tuple(e for e in self.entries if e.key != key), self.span)


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True)
class Place:
    """Where a path leads: the deepest node that exists, its key, and the steps that led nowhere."""

    path: tuple[Step, ...]
    key: Span | None
    node: Node
    rest: tuple[Step, ...]

    @property
    def span(self) -> Span:
        """What to underline: a scalar itself, otherwise the key (a mapping or a list is too long to underline)."""
        if isinstance(self.node, Scalar) and self.node.text:
            return self.node.span
        return self.key or self.node.span


@dataclass(frozen=True)
class MarkedDocument:
    """A document and the mistakes found while reading it (shown together with those found later).

    `is_part`: what it extends could not be told, so that what is missing may stand there.
    """

    path: Path
    root: Mapping
    mistakes: tuple[Diagnostic, ...] = field(default=())
    is_part: bool = False

    def data(self) -> dict[str, Any]:
        """The plain values: dict, tuple and scalars."""
        return {e.key: plain(e.value) for e in self.root.entries}

    def place(self, *path: Step) -> Place:
        """Where `path` leads; steps that do not exist (a union's tag, a missing key) are skipped into `rest`."""
        node: Node = self.root
        key: Span | None = None
        taken: list[Step] = []
        rest: list[Step] = []
        for step in path:
            child = _child(node, step)
            if child is None:
                rest.append(step)
                continue
            key, node = child
            taken.append(step)
        return Place(tuple(taken), key, node, tuple(rest))


def plain(node: Node) -> Any:
    """`node` as dict, tuple and scalars."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return tuple(plain(item) for item in node.items)
    return {e.key: plain(e.value) for e in node.entries}


def scalars(node: Node) -> Iterator[Scalar]:
    """All scalars below `node`, in the order they were written."""
    if isinstance(node, Scalar):
        yield node
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from scalars(item)
    else:
        for entry in node.entries:
            yield from scalars(entry.value)


def _child(node: Node, step: Step) -> tuple[Span | None, Node] | None:
    if isinstance(node, Mapping):
        entry = node.entry(step)
        return None if entry is None else (entry.span, entry.value)
    if isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
        return None, node.items[step]
    return None
