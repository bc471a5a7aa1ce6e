"""The shapes of a graph's inputs: how they are told, and what is asked of a recipe where one must be fixed."""

from __future__ import annotations

from collections.abc import Sequence

from edgec.errors import Diagnostic, InputError
from edgec.formats.onnx.graph import Port
from edgec.recipe.load import LoadedRecipe

_NAME_CHARS = 24


def shape_text(shape: Sequence[int | str]) -> str:
    """A shape for people: open dimensions by their names, where an exporter wrote no formula instead."""
    return "[" + ", ".join(str(dim) if dim != "" and len(str(dim)) <= _NAME_CHARS else "?" for dim in shape) + "]"


def require_static(loaded: LoadedRecipe, ports: Sequence[Port], why: str, *, from_dim: int = 0) -> None:
    """Raises InputError for inputs with open dimensions, from `from_dim` on, with the lines to add to the recipe."""
    for port in ports:
        found = [i for i in port.open_dims if i >= from_dim]
        if not found:
            continue
        names = ", ".join(f"dimension {i} ({port.shape[i] or 'without a name'})" for i in found)
        wanted = [dim if isinstance(dim, int) else 1 if i == 0 else f"<{dim or 'number'}>"
                  for i, dim in enumerate(port.shape)]  # fmt: skip
        lines = f"source: {{inputs: {{{port.name}: {{shape: [{', '.join(map(str, wanted))}]}}}}}}"
        message = f"the input `{port.name}` leaves {names} open, and {why}"
        span = loaded.span("source", "inputs", port.name) or loaded.span("source", "path")
        raise InputError(Diagnostic(message, f"fix them in the recipe: `{lines}`", span))
