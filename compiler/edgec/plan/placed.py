"""Mistakes of an artifact, at the line of the recipe that asked for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from edgec.errors import InputError
from edgec.recipe.load import LoadedRecipe


@contextlib.contextmanager
def placed_at(loaded: LoadedRecipe, index: int) -> Iterator[None]:
    """Gives mistakes without a place the line of the artifact that asked for what cannot be."""
    try:
        yield
    except InputError as error:
        span = loaded.span("artifacts", index)
        raise InputError(
            *(d if d.span is not None or d.place is not None else replace(d, span=span) for d in error.diagnostics)
        ) from error
