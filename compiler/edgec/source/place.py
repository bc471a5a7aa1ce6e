"""Where a mistake of a checkpoint stands. Rule: people see a path they can open, not a file's name alone."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from edgec.errors import Diagnostic, InputError
from edgec.source.layout import INDEX, small_file_limit

# What the mapping of a model calls all of its files together.
_WHOLE = "checkpoint"


@contextlib.contextmanager
def placed_in(where: str) -> Iterator[None]:
    """Puts `where` (a folder, or a repository on the hub) before the file names in the mistakes raised inside."""
    try:
        yield
    except InputError as error:
        raise InputError(*(_placed(d, where) for d in error.diagnostics)) from error


def _placed(mistake: Diagnostic, where: str) -> Diagnostic:
    place = mistake.place
    if mistake.span is not None or place is None:
        return mistake
    if place == _WHOLE:
        return dataclasses.replace(mistake, place=where)
    file = place.partition(": ")[0]
    plain = "/" not in file and file.endswith(".safetensors")
    if plain or file == INDEX or small_file_limit(file) is not None:
        return dataclasses.replace(mistake, place=f"{where.rstrip('/')}/{place}")
    return mistake
