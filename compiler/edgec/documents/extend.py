"""`extends:` one other document: mappings are merged key by key, everything else is replaced.

Rule: a value keeps the mark of the file where it stands, so a mistake points there; a cycle is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgec.documents.files import is_file
from edgec.documents.marked import Entry, Mapping, MarkedDocument, Scalar
from edgec.documents.wording import shown
from edgec.documents.yaml import load_marked
from edgec.errors import Diagnostic, InputError, Span

KEY = "extends"
MAX_CHAIN = 16

# Finds the file that `extends: <text>` in `path` means; raises InputError with the given span.
Resolve = Callable[[str, Path, Span], Path]


def relative_file(text: str, path: Path, span: Span) -> Path:
    """The usual `Resolve`: a path relative to the file that extends."""
    found = path.parent / text
    if not is_file(found):
        raise InputError(Diagnostic(f"no such file: {shown(text)}", f"it is looked up in `{path.parent}`", span))
    return found


def load_extended(path: Path, resolve: Resolve = relative_file) -> MarkedDocument:
    """The document in `path` merged over those it extends, without its `extends` key. Raises InputError."""
    return _load(path, resolve, ())


def merge(base: Mapping, over: Mapping) -> Mapping:
    """`over` laid on `base`: mappings deeply, lists and scalars replaced; the order of `base`, then new keys."""
    merged = base
    for entry in over.entries:
        below = base.entry(entry.key)
        if below is not None and isinstance(below.value, Mapping) and isinstance(entry.value, Mapping):
            merged = merged.with_entry(Entry(entry.key, entry.span, merge(below.value, entry.value)))
        else:
            merged = merged.with_entry(entry)
    return Mapping(merged.entries, over.span)


def _load(path: Path, resolve: Resolve, chain: tuple[Path, ...]) -> MarkedDocument:
    marked = load_marked(path)
    entry = marked.root.entry(KEY)
    if entry is None:
        return marked
    own = marked.root.without(KEY)
    if not isinstance(entry.value, Scalar) or not isinstance(entry.value.value, str) or not entry.value.value.strip():
        is_empty = isinstance(entry.value, Scalar) and not entry.value.text
        at = entry.span if is_empty else entry.value.span
        wrong = Diagnostic("`extends` must be the name of one other file", "for example `extends: base.yaml`", at)
        return MarkedDocument(path, own, (*marked.mistakes, wrong), is_part=True)
    span = entry.value.span
    chain = (*chain, path.resolve())
    base_path = resolve(entry.value.value, path, span)
    if base_path.resolve() in chain:
        way = " -> ".join(p.name for p in (*chain, base_path.resolve()))
        raise InputError(Diagnostic(f"`extends` goes in a circle: {way}", "remove one of the `extends`", span))
    if len(chain) >= MAX_CHAIN:
        raise InputError(Diagnostic(f"more than {MAX_CHAIN} files extend each other", "merge some of them", span))
    base = _load(base_path, resolve, chain)
    return MarkedDocument(path, merge(base.root, own), (*base.mistakes, *marked.mistakes), base.is_part)
