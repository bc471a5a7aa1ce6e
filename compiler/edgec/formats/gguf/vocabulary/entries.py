"""Typed constructors of `tokenizer.*` metadata entries. Rule: the value types are those llama.cpp's loader asks for."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from edgec.formats.gguf.model import KeyValue, ValueType


class TokenType(IntEnum):
    """llama.cpp's token types."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


def text(key: str, value: str) -> KeyValue:
    """A string entry."""
    return KeyValue(key, ValueType.STRING, value)


def flag(key: str, value: bool) -> KeyValue:
    """A boolean entry."""
    return KeyValue(key, ValueType.BOOL, value)


def number(key: str, value: int) -> KeyValue:
    """An unsigned 32-bit entry."""
    return KeyValue(key, ValueType.UINT32, value)


def texts(key: str, values: Sequence[str]) -> KeyValue:
    """An array of strings."""
    return KeyValue(key, ValueType.ARRAY, tuple(values), ValueType.STRING)


def numbers(key: str, values: Sequence[int]) -> KeyValue:
    """An array of signed 32-bit integers."""
    return KeyValue(key, ValueType.ARRAY, tuple(int(v) for v in values), ValueType.INT32)


def reals(key: str, values: Sequence[float]) -> KeyValue:
    """An array of 32-bit floats."""
    return KeyValue(key, ValueType.ARRAY, tuple(values), ValueType.FLOAT32)


def octets(key: str, values: bytes) -> KeyValue:
    """An array of unsigned bytes."""
    return KeyValue(key, ValueType.ARRAY, tuple(values), ValueType.UINT8)
