"""The small JSON files beside config.json. Rule: a file that is there must be readable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgec.errors import InputError
from edgec.source.model import CheckpointHeader


def read_object(header: CheckpointHeader, name: str) -> Mapping[str, Any] | None:
    """A JSON object of the checkpoint, None when the file is not there. InputError when it is none."""
    value = _parse(header, name)
    if value is not None and not isinstance(value, dict):
        raise _unreadable(name, "it holds no object")
    return value


def read_list(header: CheckpointHeader, name: str) -> list[Any] | None:
    """A JSON list of the checkpoint, None when the file is not there. InputError when it is none."""
    value = _parse(header, name)
    if value is not None and not isinstance(value, list):
        raise _unreadable(name, "it holds no list")
    return value


def _parse(header: CheckpointHeader, name: str) -> Any:
    data = header.files.get(name)
    if data is None:
        return None
    try:
        return json.loads(data)
    except ValueError as error:
        raise _unreadable(name, str(error)) from error


def _unreadable(name: str, why: str) -> InputError:
    return InputError.of(f"cannot be read: {why}", place=name, hint="download the model's small files again")
