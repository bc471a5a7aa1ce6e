"""What can still be understood of a document with mistakes, so that the checks after the typing can run on the rest.

Rule: nothing is guessed: a value with a mistake counts as not given, and what had to be made up is told apart.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edgec.documents.marked import MarkedDocument, Step
from edgec.documents.typed import MISTAKE, as_data

M = TypeVar("M", bound=BaseModel)

_MAX_ROUNDS = 8  # each round takes out at least one value; validators of mappings speak only after their values
_Path = tuple[Step, ...]


@dataclass(frozen=True)
class Salvaged(Generic[M]):
    """A model made of the values without mistakes. `dropped`: the paths of those that were left out."""

    model: M
    dropped: frozenset[_Path]

    def is_written(self, marked: MarkedDocument, path: _Path) -> bool:
        """Whether the value at `path` is one that a person wrote and that has no mistake of its own."""
        place = marked.place(*path)
        left_out = any(path[:end] in self.dropped for end in range(1, len(path) + 1))
        return not place.rest and not left_out and not getattr(place.node, "broken", False)


def salvage(model_class: type[M], marked: MarkedDocument, stand_ins: Mapping[str, Any]) -> Salvaged[M] | None:
    """`marked` without its mistakes; `stand_ins` fill required keys, by name. None if nothing valid is left."""
    data = as_data(marked.data())
    dropped: set[_Path] = set()
    for _ in range(_MAX_ROUNDS):
        try:
            return Salvaged(model_class.model_validate(_with_tuples(data), strict=True), frozenset(dropped))
        except ValidationError as error:
            for one in error.errors(include_url=False):
                if not _mended(data, one, stand_ins, dropped):
                    return None
    return None


def _mended(data: Any, error: ErrorDetails, stand_ins: Mapping[str, Any], dropped: set[_Path]) -> bool:
    # What is missing may be missing because it was dropped.
    own = len(error["loc"]) - (error["type"] == "missing")
    if any(error["loc"][:end] in dropped for end in range(1, own + 1)):
        return True  # it went with what holds it
    at = error.get("ctx", {}).get("at") if error["type"] == MISTAKE else None
    # Of two keys that cannot stand together, one goes and the other is still looked at.
    parents, path, value = _walked(data, (*error["loc"], at) if at else error["loc"])
    name = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "missing" and isinstance(value, dict) and name in stand_ins:
        value[name] = copy.deepcopy(stand_ins[name])
        return True
    if error["type"] == "too_short" and isinstance(value, list) and value:
        return True  # only the valid items were counted
    for depth in range(len(path) - 1, -1, -1):
        if isinstance(parents[depth], dict):  # dropping an item of a list would renumber the others
            parents[depth].pop(path[depth], None)
            dropped.add(path[: depth + 1])
            return True
    return False


def _walked(data: Any, loc: tuple[Step, ...]) -> tuple[list[Any], _Path, Any]:
    """The containers on the way, the steps taken (a union's tag is none), and the value reached."""
    parents: list[Any] = []
    path: list[Step] = []
    for step in loc:
        inside = isinstance(data, dict) and step in data
        if inside or (isinstance(data, list) and isinstance(step, int) and step < len(data)):
            parents.append(data)
            path.append(step)
            data = data[step]
    return parents, tuple(path), data


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _with_tuples(v) for k, v in value.items()}
    return tuple(_with_tuples(v) for v in value) if isinstance(value, list) else value
