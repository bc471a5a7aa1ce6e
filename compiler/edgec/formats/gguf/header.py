"""The bytes in front of a GGUF's tensor data: metadata and tensor descriptions, version 3, little-endian.

Rule: a pure function of its arguments; the same entries in the same order give the same bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from edgec.formats.gguf.model import KeyValue, Scalar, ValueType

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32

# struct codes of the fixed-size value types.
SCALAR_CODES = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}


@dataclass(frozen=True)
class TensorEntry:
    """A tensor's description: row-major `shape`, ggml's type number, `offset` from the start of the tensor data."""

    name: str
    shape: tuple[int, ...]
    ggml_id: int
    offset: int


def align(offset: int, alignment: int = ALIGNMENT) -> int:
    """The next multiple of `alignment` at or after `offset`."""
    return -(-offset // alignment) * alignment


def pack_string(text: str) -> bytes:
    """A GGUF string: its length in bytes, then UTF-8."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _pack_strings(items: Iterable[Scalar]) -> bytes:
    """Many strings at once: a vocabulary has hundreds of thousands."""
    encoded = [str(s).encode() for s in items]
    lengths = map(struct.Struct("<Q").pack, map(len, encoded))
    return b"".join(chain.from_iterable(zip(lengths, encoded, strict=True)))


def _pack_array(entry: KeyValue) -> bytes:
    if entry.item_type is None or not isinstance(entry.value, tuple):
        raise ValueError(f"{entry.key}: an array needs an item type and a tuple")
    head = struct.pack("<IQ", entry.item_type, len(entry.value))
    if entry.item_type is ValueType.STRING:
        return head + _pack_strings(entry.value)
    return head + struct.pack(f"<{len(entry.value)}{SCALAR_CODES[entry.item_type]}", *entry.value)


def pack_entry(entry: KeyValue) -> bytes:
    """One metadata entry. Raises ValueError when the value does not have the entry's type."""
    head = pack_string(entry.key) + struct.pack("<I", entry.type)
    try:
        if entry.type is ValueType.ARRAY:
            return head + _pack_array(entry)
        if entry.type is ValueType.STRING:
            return head + pack_string(str(entry.value))
        return head + struct.pack("<" + SCALAR_CODES[entry.type], entry.value)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{entry.key}: {error}") from error


def pack_header(metadata: Sequence[KeyValue], tensors: Sequence[TensorEntry]) -> bytes:
    """Everything before the tensor data, padded to the alignment. Raises ValueError for a key given twice."""
    keys = [entry.key for entry in metadata]
    if twice := sorted({k for k in keys if keys.count(k) > 1}):
        raise ValueError(f"metadata given twice: {', '.join(twice)}")
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    parts.extend(map(pack_entry, metadata))
    for tensor in tensors:
        dimensions = tensor.shape[::-1]
        parts.append(pack_string(tensor.name))
        parts.append(
            struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, tensor.ggml_id, tensor.offset)
        )
    size = sum(map(len, parts))
    parts.append(b"\0" * (align(size) - size))
    return b"".join(parts)
