"""What a script found wrong with the user's own model, as the error that it is: of the input, not of the tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgec.errors import InputError


def require_sound(answer: Mapping[str, Any], file: str) -> None:
    """Raises InputError where a script (see inside/faults.py) answered that the model in `file` is at fault."""
    fault = answer.get("fault")
    if isinstance(fault, dict):
        raise InputError.of(str(fault.get("message")), hint=str(fault.get("hint")), place=file)
