"""`--set path=value`: a value from the command line put into a document's tree.

Rule: it is marked as standing at `--set`, so a mistake in it points there and not into a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgec.documents.marked import Entry, Mapping, Node, Scalar, Sequence, Step
from edgec.documents.text import SourceText
from edgec.documents.wording import path_text, shown
from edgec.documents.yaml import compose
from edgec.errors import Diagnostic, InputError, Span

FILE = "--set"
_STEP = re.compile(r"[^.\[\]=]+|\[\d{1,6}\]")


@dataclass(frozen=True)
class Setting:
    """A parsed `--set`. `path` leads to `value`; `span` underlines the path."""

    path: tuple[Step, ...]
    value: Node
    span: Span
    mistakes: tuple[Diagnostic, ...]


def parse_setting(text: str) -> Setting:
    """`artifacts[0].quantize.scheme=q8_0` (or `artifacts.0...`); the value is YAML. Raises InputError."""
    source = SourceText(FILE, text)
    path_part, equals, value_text = text.partition("=")
    span = source.span(0, len(path_part))
    if not equals:
        raise InputError(Diagnostic("no `=` in the setting", "write path=value, for example context=2048", span))
    steps = _STEP.findall(path_part)
    if not steps or not _is_path(path_part):
        raise InputError(Diagnostic("not a path", "write it as artifacts[0].quantize.scheme", span))
    path = tuple(_step(s) for s in steps)
    value, mistakes = compose(SourceText(FILE, value_text, shown_prefix=path_part + "="))
    return Setting(path, value, span, mistakes)


def apply_setting(root: Mapping, setting: Setting) -> Mapping:
    """`root` with the setting's value in it; missing mappings are made. Raises InputError when the path cannot be."""
    changed = _placed(root, setting, 0)
    if not isinstance(changed, Mapping):
        raise TypeError("a mapping stays a mapping")
    return changed


def _placed(node: Node, setting: Setting, depth: int) -> Node:
    if depth == len(setting.path):
        return setting.value
    step = setting.path[depth]
    if isinstance(node, Sequence):
        return _placed_in_list(node, setting, depth)
    if isinstance(node, Scalar) and node.value is not None:
        before = path_text(setting.path[:depth])
        message = f"`{before}` is {shown(node.text)}, which has nothing below it"
        raise InputError(Diagnostic(message, f"set `{before}` itself, or leave out the rest of the path", setting.span))
    mapping = node if isinstance(node, Mapping) else Mapping((), setting.span)
    entry = mapping.entry(str(step))
    below = entry.value if entry is not None else Mapping((), setting.span)
    return mapping.with_entry(Entry(str(step), setting.span, _placed(below, setting, depth + 1)))


def _placed_in_list(node: Sequence, setting: Setting, depth: int) -> Node:
    step, count = setting.path[depth], len(node.items)
    if not isinstance(step, int) or step >= count:
        before = path_text(setting.path[:depth])
        message = f"`{before}` is a list of {count}; it has no {shown(str(step))}"
        hint = f"write {before}[0]{f' to {before}[{count - 1}]' if count > 1 else ''}" if count else f"set `{before}`"
        raise InputError(Diagnostic(message, hint, setting.span))
    items = list(node.items)
    items[step] = _placed(items[step], setting, depth + 1)
    return Sequence(tuple(items), node.span)


def _is_path(text: str) -> bool:
    return re.fullmatch(r"[^.\[\]=]+(\.[^.\[\]=]+|\[\d{1,6}\])*", text) is not None


def _step(text: str) -> Step:
    digits = text.strip("[]")
    return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) <= 6 else text
