"""One byte form for data that is hashed or signed: UTF-8 JSON with sorted keys and no spaces.

Rule: floats in their shortest form; a digest is `sha256:<hex>` outside and `<hex>` only inside formats that demand it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """`value` as canonical JSON. Raises ValueError on NaN and infinities, which JSON does not have."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256_bytes(data: bytes) -> str:
    """`sha256:<hex>` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def sha256_json(value: Any) -> str:
    """`sha256:<hex>` of the canonical JSON of `value`."""
    return sha256_bytes(canonical_json(value))


def read_chunks(path: Path, chunk_bytes: int = _CHUNK_BYTES) -> Iterator[bytes]:
    """The content of `path` in pieces of at most `chunk_bytes`."""
    with path.open("rb") as file:
        while chunk := file.read(chunk_bytes):
            yield chunk


def sha256_file(path: Path) -> str:
    """`sha256:<hex>` of a file's content, read in constant memory."""
    digest = hashlib.sha256()
    for chunk in read_chunks(path):
        digest.update(chunk)
    return "sha256:" + digest.hexdigest()
