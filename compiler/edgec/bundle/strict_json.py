"""JSON from strangers: bounded in size, no duplicate keys, no NaN, nothing that crashes the parser.

Rule: two parsers must not be able to read two different documents out of the same bytes.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from edgec.errors import Diagnostic, ProofError

MAX_DOCUMENT_BYTES = 16 << 20
_HINT = "the bundle was changed or damaged; get it again from its publisher"


def refuse(message: str, *, place: str | None = None, hint: str = _HINT) -> ProofError:
    """The error for a bundle that does not verify."""
    return ProofError(Diagnostic(message=message, place=place, hint=hint))


def parse_json(data: bytes, place: str) -> Any:
    """The JSON value in `data`. Raises ProofError naming `place`."""
    if len(data) > MAX_DOCUMENT_BYTES:
        raise refuse(f"the document is larger than {MAX_DOCUMENT_BYTES >> 20} MiB", place=place)
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise refuse("the document is nested too deeply", place=place) from None
    except ValueError as error:
        raise refuse(f"not a JSON document: {error}", place=place) from None


def parse_object(data: bytes, place: str) -> dict[str, Any]:
    """The JSON object in `data`. Raises ProofError naming `place`."""
    value = parse_json(data, place)
    if not isinstance(value, dict):
        raise refuse("the document is not a JSON object", place=place)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands there twice")
    return out


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
