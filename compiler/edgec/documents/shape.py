"""What a document's model expects at a place: its keys, their descriptions, and what a text must look like.

Rule: this only reads the pydantic models; a model is the single place where a document is defined.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from edgec.documents.marked import Step


@dataclass(frozen=True)
class InWords:
    """Metadata of a field with a pattern: what the pattern asks for, in words that follow "write"."""

    text: str


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys a mapping of this model may have, as they are written, in the model's order."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def model_at(model: type[BaseModel], path: Sequence[Step]) -> type[BaseModel] | None:
    """The model of the mapping at `path` (a pydantic error location, union tags included); None if it has none."""
    annotation = _annotation_at(model, path)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def field_at(model: type[BaseModel], path: Sequence[Step]) -> FieldInfo | None:
    """The field that `path` ends in; for an item of a list the field of the list, for a union's tag its first one."""
    for end in range(len(path), 0, -1):
        annotation = _annotation_at(model, path[: end - 1])
        members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
        for parent in members:
            if isinstance(parent, type) and issubclass(parent, BaseModel):
                return keys_of(parent).get(str(path[end - 1]))
    return None


def words_for(field: FieldInfo) -> str | None:
    """What a text in this field must look like, in words."""
    found = [*field.metadata, *_metadata(field.annotation)]
    return next((m.text for m in found if isinstance(m, InWords)), None)


def _metadata(annotation: Any) -> Iterator[Any]:
    """Metadata inside an annotation: `Annotated[str, InWords(...)] | None`."""
    args = get_args(annotation)
    if get_origin(annotation) is Annotated:
        yield from args[1:]
    for arg in args:
        yield from _metadata(arg)


def _annotation_at(model: type[BaseModel], path: Sequence[Step]) -> Any:
    current: Any = model
    for step in path:
        current = _step(current, step)
    return _bare(current)


def _step(annotation: Any, step: Step) -> Any:
    annotation = _bare(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = keys_of(annotation).get(str(step))
        return None if field is None else field.annotation
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return args[1]
    if origin in (tuple, list) and isinstance(step, int):
        return args[min(step, len(args) - 1)] if Ellipsis not in args else args[0]
    if origin in (Union, types.UnionType):
        return next((a for a in args if step in _tags(_bare(a))), None)
    return None


def _bare(annotation: Any) -> Any:
    """Without `Annotated` and without `| None`."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        others = [a for a in get_args(annotation) if a is not type(None)]
        if len(others) == 1:
            return _bare(others[0])
    return annotation


def _tags(annotation: Any) -> set[Any]:
    """The values of the literal fields of a union's member: what can discriminate it."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return set()
    fields = [_bare(f.annotation) for f in annotation.model_fields.values()]
    return {value for a in fields if get_origin(a) is Literal for value in get_args(a)}
