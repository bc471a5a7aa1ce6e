"""Beside the scripts of graphs: what is wrong with the user's own model, as an answer instead of a traceback."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

_SHOWN_CHARS = 300
# Of onnxruntime's messages: its own places, codes, and the file that it was given.
_NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from \S+ failed:|^/onnxruntime_src/\S+ .*?\) (?=[A-Z])"
)
_MEMORY = ("alloc", "memory")


class FaultError(Exception):
    """The model itself is at fault. `hint`: what to do about it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def or_fault(
    run: Callable[..., dict[str, Any]], request: dict[str, Any], progress: Callable[..., None]
) -> dict[str, Any]:
    """What `run` answers, or `fault` where the model is at fault."""
    try:
        return run(request, progress)
    except FaultError as error:
        return {"fault": {"message": str(error), "hint": error.hint}}


@contextlib.contextmanager
def blaming_the_model(what: str, hint: str) -> Iterator[None]:
    """Whatever a library says within is about the model, but for a lack of memory."""
    try:
        yield
    except FaultError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError | OSError) or any(word in str(error).lower() for word in _MEMORY):
            raise
        raise FaultError(f"{what}: {_one_line(error)}", hint) from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    while (shorter := _NOISE.sub("", text).strip()) != text:
        text = shorter
    return text[:_SHOWN_CHARS].rstrip(". ")
