"""Runs in edgec's own Python, in a process of its own: token ids of texts by a tokenizer.json.

Rule: `edgec verify` imports no tokenizers; who emulates an ONNX encoder needs it, and only here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer


def run(request: dict[str, Any], _progress: Callable[..., None]) -> dict[str, Any]:
    """Request: `tokenizer` (JSON text), `texts`, `max_tokens`. Answer: `ids`, special tokens included."""
    tokenizer = Tokenizer.from_str(request["tokenizer"])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    most = request["max_tokens"]
    found = [tokenizer.encode(text).ids for text in request["texts"]]
    return {"ids": [ids if len(ids) <= most else [*ids[: most - 1], ids[-1]] for ids in found]}
