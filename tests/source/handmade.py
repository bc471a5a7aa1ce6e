"""Safetensors files made by hand, right and wrong ones, and where the real small model lies."""

from __future__ import annotations

import json
from pathlib import Path

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
Tensors = dict[str, tuple[str, list[int], bytes]]


def safetensors_bytes(tensors: Tensors, **changes: object) -> bytes:
    """A safetensors file. `changes` replace entries of its JSON header."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return with_header({**header, **changes}, data)


def with_header(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with this JSON header (an object, or the bytes themselves)."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data
