"""Runs in edgec's own Python, in a process of its own: token ids of texts by a tokenizer.json.

Rule: `edgec verify` imports no tokenizers; who emulates an ONNX encoder needs it, and only here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer


def run(request: dict[str, Any], _progress: Callable[..., None]) -> dict[str, Any]:
    """Request: `tokenizer` (JSON text), `texts` (each a text, or a pair of two), `max_tokens`.

    Answer: `texts`: `ids` and `types` of each, special tokens included.
    """
    tokenizer = Tokenizer.from_str(request["tokenizer"])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    most = request["max_tokens"]
    found = [tokenizer.encode(*([text] if isinstance(text, str) else text)) for text in request["texts"]]
    return {"texts": [{"ids": _shortened(one.ids, most), "types": _shortened(one.type_ids, most)} for one in found]}


def _shortened(numbers: list[int], most: int) -> list[int]:
    """What ends a text stays."""
    return numbers if len(numbers) <= most else [*numbers[: most - 1], numbers[-1]]
