"""A recipe file turned into a `Recipe`: read, extended, overridden by `--set`, templates rendered, typed.

Rules: all mistakes at once; a relative path means the folder of the file where it stands, one given by `--set` the
current folder; a loaded recipe holds every path relative to its own folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgec.documents import override
from edgec.documents.extend import load_extended
from edgec.documents.files import names_a_file
from edgec.documents.marked import Entry, MarkedDocument, Node, Scalar, Step
from edgec.documents.marked import Mapping as MappingNode
from edgec.documents.marked import Sequence as SequenceNode
from edgec.documents.override import apply_setting, parse_setting
from edgec.documents.salvage import Salvaged, salvage
from edgec.documents.template import render
from edgec.documents.typed import as_data, parse
from edgec.errors import Diagnostic, InputError, Span
from edgec.recipe.model import Recipe

# The fields that name a file or a folder; `None` is every item of a list.
_PATH_FIELDS: tuple[tuple[str | None, ...], ...] = (
    ("source", "path"),
    ("artifacts", None, "quantize", "imatrix", "calibration"),
    ("artifacts", None, "quantize", "imatrix", "file"),
    ("artifacts", None, "quantize", "calibration"),
    ("artifacts", None, "tokenizer", "chat_template"),
    ("prove", "held_out"),
    ("sign", "key"),
    ("package", "dify", "icon"),
    ("package", "dify", "key"),
)

# For keys that a recipe with mistakes lacks; nothing is reported about them.
_STAND_INS: dict[str, Any] = {
    "schema": "edgec/recipe/v1",
    "name": "name",
    "version": "0.0.0",
    "target": "",
    "source": {"path": "."},
    "artifacts": [{"format": "gguf"}],
    "format": "gguf",
}


@dataclass(frozen=True)
class LoadedRecipe:
    """A typed recipe and where its values were written."""

    recipe: Recipe
    folder: Path
    marked: MarkedDocument

    @property
    def document(self) -> dict[str, Any]:
        """The concrete data as JSON takes it: `extends`, `--set` and templates are resolved."""
        data: dict[str, Any] = as_data(self.marked.data())
        return data

    def span(self, *path: Step) -> Span | None:
        """Where the value at `path` stands; None if it is not written anywhere (a default)."""
        place = self.marked.place(*path)
        return None if place.rest else place.span

    def from_env(self, *path: Step) -> bool:
        """Whether the value at `path` came from the environment, so that no message may show it."""
        node = self.marked.place(*path).node
        return isinstance(node, Scalar) and node.from_env

    def resolve(self, relative: str) -> Path:
        """The file or folder that a path in the recipe means."""
        return self.folder / relative


def load_recipe(path: Path, *, sets: Sequence[str] = (), env: Mapping[str, str] | None = None) -> LoadedRecipe:
    """The recipe in `path` with the `--set` texts applied; `env` is what `${{ env.X }}` sees (default: os.environ).

    Raises InputError with every mistake.
    """
    marked = read_recipe(path, sets=sets, env=env)
    return LoadedRecipe(parse(Recipe, marked), path.parent, marked)


def salvage_recipe(marked: MarkedDocument) -> Salvaged[Recipe] | None:
    """What of a recipe with mistakes can still be cross-checked; None if that is nothing."""
    return salvage(Recipe, marked, _STAND_INS)


def read_recipe(path: Path, *, sets: Sequence[str] = (), env: Mapping[str, str] | None = None) -> MarkedDocument:
    """The recipe's document with everything resolved, not yet typed. Raises InputError when it cannot be read."""
    marked = load_extended(path)
    mistakes: list[Diagnostic] = []
    root = marked.root
    for text in sets:
        try:
            setting = parse_setting(text)
            root = apply_setting(root, setting)
            mistakes += setting.mistakes
        except InputError as error:
            mistakes += error.diagnostics
    marked = replace(marked, root=root, mistakes=(*marked.mistakes, *mistakes))
    marked = render(marked, os.environ if env is None else env)
    return replace(marked, root=_rebased(marked.root, path.parent))


def _rebased(root: MappingNode, folder: Path) -> MappingNode:
    """`root` with every path relative to `folder`, wherever it was written."""
    for field in _PATH_FIELDS:
        changed = _changed(root, field, folder)
        root = changed if isinstance(changed, MappingNode) else root
    target = root.entry("target")
    if target is not None and isinstance(target.value, Scalar) and names_a_file(target.value.text):
        root = root.with_entry(replace(target, value=_relative_scalar(target.value, folder)))
    return root


def _changed(node: Node, field: tuple[str | None, ...], folder: Path) -> Node:
    if not field:
        return _relative_scalar(node, folder) if isinstance(node, Scalar) else node
    if isinstance(node, SequenceNode) and field[0] is None:
        return replace(node, items=tuple(_changed(item, field[1:], folder) for item in node.items))
    entry = node.entry(field[0]) if isinstance(node, MappingNode) and field[0] is not None else None
    if not isinstance(node, MappingNode) or entry is None:
        return node
    return node.with_entry(Entry(entry.key, entry.span, _changed(entry.value, field[1:], folder)))


def _relative_scalar(node: Scalar, folder: Path) -> Scalar:
    if not isinstance(node.value, str) or not node.value or node.broken or Path(node.value).is_absolute():
        return node
    stands_in = Path() if node.span.file == override.FILE else Path(node.span.file).parent
    if os.path.normpath(stands_in) == os.path.normpath(folder):
        return node
    moved = Path(os.path.relpath(stands_in / node.value, folder)).as_posix()
    if "/" in node.value and "/" not in moved:
        moved = f"./{moved}"  # still a path, not the name of a target
    return replace(node, value=moved, text=moved)
