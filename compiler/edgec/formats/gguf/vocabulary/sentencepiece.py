"""Reads a SentencePiece model file (a protobuf message) without the sentencepiece package.

Rule: only the fields edgec needs are read, every length is checked, and a file cut short is an error, never a guess.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from edgec.errors import InputError
from edgec.formats.gguf.vocabulary.entries import TokenType

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


class ModelType(IntEnum):
    """`trainer_spec.model_type`."""

    UNIGRAM = 1
    BPE = 2
    WORD = 3
    CHAR = 4


@dataclass(frozen=True)
class Unit:
    """One piece: its text, score and type (numbered as llama.cpp's)."""

    text: str
    score: float
    type: TokenType


@dataclass(frozen=True)
class SentencePieceModel:
    """What a model file says. Ids are -1 where the model has no such token."""

    pieces: tuple[Unit, ...]
    model_type: ModelType
    unk_id: int
    bos_id: int
    eos_id: int
    pad_id: int
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool


class _BrokenError(Exception):
    """The bytes are no protobuf message."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise _BrokenError("a number is cut short")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values: a number, or the bytes of a nested value."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(wire)
        if wire == _LENGTH:
            size, at = _varint(data, at)
        if size is None or number == 0:
            raise _BrokenError(f"field {number} has the unknown wire type {wire}")
        if at + size > len(data):
            raise _BrokenError(f"field {number} is cut short")
        yield number, data[at : at + size]
        at += size


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _BrokenError("a number stands where bytes are expected")
    return value


def _signed(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise _BrokenError("bytes stand where a number is expected")
    # Negative int32 values are written as 64-bit two's complement.
    return value - (1 << 64) if value >= 1 << 63 else value


def _piece(data: bytes) -> Unit:
    content, score, kind = b"", 0.0, int(TokenType.NORMAL)
    for number, value in _fields(data):
        if number == 1:
            content = _bytes(value)
        elif number == 2:
            raw = _bytes(value)
            if len(raw) != 4:
                raise _BrokenError("a score is no 32-bit float")
            score = struct.unpack("<f", raw)[0]
        elif number == 3:
            kind = _signed(value)
    return Unit(content.decode(), score, TokenType(kind))


def _numbers(data: bytes, defaults: dict[int, int]) -> dict[int, int]:
    """The numeric fields of a message by number, `defaults` where left out."""
    found = dict(defaults)
    for number, value in _fields(data):
        if number in found:
            found[number] = _signed(value)
    return found


def _parse(data: bytes) -> SentencePieceModel:
    pieces: list[Unit] = []
    trainer = normalizer = b""
    for number, value in _fields(data):
        if number == 1:
            pieces.append(_piece(_bytes(value)))
        elif number == 2:
            trainer = _bytes(value)
        elif number == 3:
            normalizer = _bytes(value)
    if not pieces:
        raise _BrokenError("it has no pieces")
    spec = _numbers(trainer, {3: ModelType.UNIGRAM, 40: 0, 41: 1, 42: 2, 43: -1})
    switches = _numbers(normalizer, {3: 1, 4: 1})
    charsmap = b"".join(_bytes(value) for number, value in _fields(normalizer) if number == 2)
    return SentencePieceModel(
        tuple(pieces), ModelType(spec[3]), spec[40], spec[41], spec[42], spec[43], charsmap,
        add_dummy_prefix=bool(switches[3]), remove_extra_whitespaces=bool(switches[4]),
    )  # fmt: skip


def parse_sentencepiece(data: bytes, name: str) -> SentencePieceModel:
    """The model in `data`, the content of file `name`. InputError when it is none."""
    try:
        return _parse(data)
    except (_BrokenError, ValueError) as error:
        raise InputError.of(
            f"not a SentencePiece model: {error}",
            place=name,
            hint="download the file again; a git-lfs pointer or a tiktoken file is no SentencePiece model",
        ) from error
