"""A marked document turned into a typed model, or into all of its mistakes at once.

Rule: a person never sees pydantic's words; every mistake names the place, what was expected in plain words, and a hint.
A value that came from the environment is never shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from edgec.documents.extend import KEY as EXTENDS
from edgec.documents.marked import MarkedDocument, Place, Scalar, Step, scalars
from edgec.documents.marked import Sequence as ListNode
from edgec.documents.override import FILE as SET_FILE
from edgec.documents.shape import field_at, keys_of, model_at
from edgec.documents.wording import Wording, listed, nearest, path_text, shown, word
from edgec.errors import Diagnostic, InputError

M = TypeVar("M", bound=BaseModel)

MISTAKE = "edgec_mistake"
_LAST = ("\U0010ffff", 0, 0)


def mistake(message: str, hint: str, *, at: str | None = None, rival: str | None = None) -> PydanticCustomError:
    """What a model's validator raises: shown as it is, at the key `at` below the validated mapping if it exists.

    `rival`: another key that cannot stand beside `at`; the hint says how to drop the one that another file gives.
    Values in `message` are shown even if they came from the environment, so a validator names keys, not values.
    """
    return PydanticCustomError(MISTAKE, "{said}", {"said": message, "hint": hint, "at": at, "rival": rival})


def together(*mistakes: PydanticCustomError) -> PydanticCustomError:
    """Several mistakes of one validator, which can raise only once."""
    first = mistakes[0].context or {}
    return PydanticCustomError(MISTAKE, "{said}", {**first, "more": [m.context for m in mistakes[1:]]})


def parse(model_class: type[M], marked: MarkedDocument) -> M:
    """`marked` as a `model_class`. Raises InputError with every mistake, those of the reading included."""
    mistakes = list(marked.mistakes)
    model: M | None = None
    try:
        model = model_class.model_validate(marked.data(), strict=True)
    except ValidationError as error:
        mistakes += _diagnostics(model_class, marked, [_at_its_tag(e) for e in error.errors(include_url=False)])
    if mistakes or model is None:
        raise InputError(*ordered(mistakes))
    return model


def ordered(mistakes: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Mistakes file by file in the order of the text, each once; those without a span last."""
    unique = list(dict.fromkeys(mistakes))
    return sorted(unique, key=lambda d: (d.span.file, d.span.line, d.span.column) if d.span else _LAST)


def _diagnostics(model_class: type[BaseModel], marked: MarkedDocument, errors: list[ErrorDetails]) -> list[Diagnostic]:
    """One diagnostic per place: the members of a plain union each complain about the same value."""
    groups: dict[tuple[tuple[Step, ...], str], list[ErrorDetails]] = {}
    for error in errors:
        place = marked.place(*error["loc"])
        if _only_follows(error, place) or (marked.is_part and error["type"] == "missing"):
            continue
        is_key = error["type"] in ("missing", "extra_forbidden", MISTAKE)
        groups.setdefault((place.path, str(error["loc"]) + error["type"] if is_key else ""), []).append(error)
    found = []
    for group in groups.values():
        place = marked.place(*group[0]["loc"])
        if not _is_broken(place, of_mapping=group[0]["type"] == MISTAKE):
            found += _diagnostic(model_class, marked, place, group)
    return found


def _at_its_tag(error: ErrorDetails) -> ErrorDetails:
    """A mistake in what chooses the member of a union stands at that key, not at the whole mapping."""
    tag = error.get("ctx", {}).get("discriminator", "").strip("'")
    match error["type"]:
        case "union_tag_invalid":
            return {**error, "loc": (*error["loc"], tag)}
        case "union_tag_not_found":
            return {**error, "loc": (*error["loc"], tag), "type": "missing"}
    return error


def _is_broken(place: Place, *, of_mapping: bool) -> bool:
    """Whether a mistake was reported already at this value, or for a validator of a mapping at any value below it."""
    if isinstance(place.node, Scalar):
        return place.node.broken
    return of_mapping and any(scalar.broken for scalar in scalars(place.node))


def _only_follows(error: ErrorDetails, place: Place) -> bool:
    """pydantic counts only the valid items, so a list with a mistake in its only item is "too short"."""
    least = error.get("ctx", {}).get("min_length", 0)
    return error["type"] == "too_short" and isinstance(place.node, ListNode) and len(place.node.items) >= least


def _diagnostic(
    model_class: type[BaseModel], marked: MarkedDocument, place: Place, group: list[ErrorDetails]
) -> list[Diagnostic]:
    error = group[0]
    loc = error["loc"]
    if error["type"] == "extra_forbidden":
        return [_unknown_key(model_class, place, loc)]
    if error["type"] == "missing":
        return [_missing_key(model_class, marked, loc)]
    if error["type"] == MISTAKE:
        return [_told(marked, loc, context) for context in (error["ctx"], *error["ctx"].get("more", ()))]
    wording: Wording = word(place, group, field_at(model_class, loc), model_at(model_class, loc))
    return [Diagnostic(wording.message, wording.hint, place.span)]


def _told(marked: MarkedDocument, loc: tuple[Step, ...], context: Any) -> Diagnostic:
    """A validator's own mistake, at the later written of two keys that cannot stand together."""
    name, rival = context["at"], context.get("rival")
    if name is None:
        return Diagnostic(context["said"], context["hint"], marked.place(*loc).span)
    at = marked.place(*loc, name)
    if rival is None:
        return Diagnostic(context["said"], context["hint"], at.span)
    other = marked.place(*loc, rival)
    own = (SET_FILE, str(marked.path))
    ranks = [own.index(p.span.file) if p.span.file in own else len(own) for p in (at, other)]
    if ranks[0] == ranks[1]:
        return Diagnostic(context["said"], context["hint"], at.span)
    kept, dropped, span = (name, rival, at.span) if ranks[0] < ranks[1] else (rival, name, other.span)
    file = (other if dropped == rival else at).span.file
    way = f"`--set {path_text((*other.path[:-1], dropped))}=null`" if span.file == SET_FILE else f"`{dropped}: null`"
    return Diagnostic(context["said"], f"`{dropped}` comes from `{file}`: add {way} to keep only `{kept}`", span)


def _unknown_key(model_class: type[BaseModel], place: Place, loc: tuple[Step, ...]) -> Diagnostic:
    parent = model_at(model_class, loc[:-1])
    valid = list(keys_of(parent)) if parent else []
    if len(loc) == 1:
        valid.append(EXTENDS)
    near = nearest(str(loc[-1]), valid)
    where = f" in `{path_text(place.path[:-1])}`" if place.path[:-1] else ""
    hint = f"did you mean {shown(near)}? " if near else ""
    return Diagnostic(
        f"unknown key {shown(str(loc[-1]))}{where}",
        f"{hint}{'V' if hint else 'v'}alid keys: {listed(valid)}",
        place.key,
    )


def _missing_key(model_class: type[BaseModel], marked: MarkedDocument, loc: tuple[Step, ...]) -> Diagnostic:
    place = marked.place(*loc[:-1])
    name = str(loc[-1])
    field = field_at(model_class, loc)
    where = f" in `{path_text(place.path)}`" if place.path else ""
    hint = f"add `{name}:`"
    if field is not None and field.description:
        hint += f". {field.description}"
    if field is not None and field.examples:
        hint += f" Example: `{name}: {field.examples[0]}`"
    return Diagnostic(f"`{name}` is missing{where}", hint, place.span)


def as_data(value: Any) -> Any:
    """`value` with lists for tuples: what JSON and YAML writers take."""
    if isinstance(value, dict):
        return {k: as_data(v) for k, v in value.items()}
    return [as_data(v) for v in value] if isinstance(value, (tuple, list)) else value
