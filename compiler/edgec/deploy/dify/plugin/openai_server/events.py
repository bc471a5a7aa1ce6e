"""A streaming answer (server-sent events), as JSON objects.

Rule: bytes are cut at line ends only, which never stand inside a character of UTF-8, so a character that arrives in
two pieces of the network comes out whole.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

_DONE = "[DONE]"


def payloads(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The objects of a stream until `[DONE]` or its end. Raises ValueError for data that is not JSON.

    Comments (llama.cpp's pings), empty lines and unknown fields are passed over. Data over several lines is joined; a
    server that ends its events with one line end instead of two is understood, too.
    """
    pending = ""
    for line in _lines(pieces):
        field, _, value = line.partition(":")
        if field == "error":  # llama.cpp before it sent errors as data
            yield {"error": _json(value)}
        if not line and pending:
            raise ValueError(f"the stream holds data that is not JSON: {pending[:200]!r}")
        if field != "data":
            continue
        pending = f"{pending}\n{value.strip()}" if pending else value.strip()
        if pending == _DONE:
            return
        payload = _json(pending)
        if isinstance(payload, dict):
            yield payload
            pending = ""


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Whole lines, without their ends. What follows the last line end is dropped: nobody knows whether it is whole."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", errors="replace").rstrip("\r")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
