"""Which JSON schemas a request may ask for: those that llama.cpp keeps to the letter.

Rule: everything else is refused by name. llama.cpp answers without a schema that it cannot compile, skips keywords that
it does not know, and takes memory without end for bounds that contradict each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .refusals import RefusedError

_TYPES = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})
_FORMATS = frozenset({"date", "time", "date-time", "uuid"})
# What says nothing of the answer.
_ANNOTATIONS = frozenset({"title", "description", "default", "examples", "$schema", "$id", "$comment"})
# Keyword -> the type that its value has.
_VALUES: Mapping[str, type | tuple[type, ...]] = {
    "type": (str, list), "enum": list, "const": object, "format": str, "pattern": str, "$ref": str,
    "properties": dict, "$defs": dict, "definitions": dict, "required": list, "additionalProperties": (bool, dict),
    "items": dict, "prefixItems": list, "anyOf": list,
    "minItems": int, "maxItems": int, "minLength": int, "maxLength": int,
    "minimum": int, "maximum": int, "exclusiveMinimum": int, "exclusiveMaximum": int,
}  # fmt: skip
_COUNTS = (("minItems", "maxItems"), ("minLength", "maxLength"))
_INTEGER_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
# llama.cpp's own limit of a repetition.
_MAX_COUNT = 2000
_MAX_DEPTH = 32


def check_json_schema(schema: dict[str, Any]) -> None:
    """Raises RefusedError that says which keyword at which place cannot be kept."""
    _check(schema, "#", schema, 0)


def _check(schema: Any, place: str, root: dict[str, Any], depth: int) -> None:
    if not isinstance(schema, dict):
        raise _refusal(place, "is no JSON object")
    if depth > _MAX_DEPTH:
        raise _refusal(place, f"is nested more than {_MAX_DEPTH} deep")
    for key, value in schema.items():
        if key in _ANNOTATIONS:
            continue
        if key not in _VALUES:
            raise _refusal(place, f"has `{key}`, which is not supported")
        is_wrong_bool = isinstance(value, bool) and _VALUES[key] is int
        if is_wrong_bool or not isinstance(value, _VALUES[key]):
            raise _refusal(place, f"has a `{key}` of a wrong type")
    _check_types(schema, place)
    _check_texts(schema, place, root)
    _check_bounds(schema, place)
    for name, part in _parts(schema):
        _check(part, f"{place}/{name}", root, depth + 1)


def _check_types(schema: dict[str, Any], place: str) -> None:
    types = schema.get("type", [])
    for name in [types] if isinstance(types, str) else types:
        if not isinstance(name, str) or name not in _TYPES:
            raise _refusal(place, f"has the unknown type {name!r}")
    for key in ("enum", "anyOf"):
        if key in schema and not schema[key]:
            raise _refusal(place, f"has an empty `{key}`")


def _check_texts(schema: dict[str, Any], place: str, root: dict[str, Any]) -> None:
    if schema.get("format", "date") not in _FORMATS:
        raise _refusal(place, f"has a `format` that is not one of {', '.join(sorted(_FORMATS))}")
    if "pattern" in schema and not _is_plain_pattern(schema["pattern"]):
        raise _refusal(place, "has a `pattern` that is not a plain regular expression from ^ to $")
    if "$ref" in schema and not _resolves(schema["$ref"], root):
        raise _refusal(place, f"has a `$ref` that leads nowhere: {schema['$ref']!r}")
    required = schema.get("required", [])
    if any(not isinstance(name, str) or name not in schema.get("properties", {}) for name in required):
        raise _refusal(place, "requires a property that is not in `properties`")


def _is_plain_pattern(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return pattern.startswith("^") and pattern.endswith("$") and "(?" not in pattern


def _resolves(reference: str, root: dict[str, Any]) -> bool:
    if reference == "#" or not reference.startswith("#/"):
        return False
    target: Any = root
    for step in reference[2:].split("/"):
        target = target.get(step) if isinstance(target, dict) else None
    # A chain of them may have no end.
    return isinstance(target, dict) and "$ref" not in target


def _check_bounds(schema: dict[str, Any], place: str) -> None:
    for low, high in _COUNTS:
        least, most = schema.get(low, 0), schema.get(high, _MAX_COUNT)
        if not 0 <= least <= most <= _MAX_COUNT:
            raise _refusal(place, f"has `{low}` and `{high}` that do not go from 0 up to {_MAX_COUNT}")
    if any(key in schema for key in _INTEGER_BOUNDS) and schema.get("type") != "integer":
        raise _refusal(place, "has bounds of a value that is no integer, which is not supported")
    least = max(schema.get("minimum", -(2**53)), schema.get("exclusiveMinimum", -(2**53)) + 1)
    most = min(schema.get("maximum", 2**53), schema.get("exclusiveMaximum", 2**53) - 1)
    if not -(2**53) <= least <= most <= 2**53:
        raise _refusal(place, "has bounds that no integer meets")


def _parts(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in ("properties", "$defs", "definitions"):
        yield from ((f"{key}/{name}", part) for name, part in schema.get(key, {}).items())
    for key in ("prefixItems", "anyOf"):
        yield from ((f"{key}/{number}", part) for number, part in enumerate(schema.get(key, [])))
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield key, schema[key]


def _refusal(place: str, what: str) -> RefusedError:
    return RefusedError(f"`json_schema` at {place} {what}")
