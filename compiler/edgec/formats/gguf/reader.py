"""Reads the header of a GGUF: metadata and tensor descriptions, never tensor data.

Rule: what it returns was checked against the file's size; a file that is cut, padded or nonsensical is an InputError,
and no count read from the file makes us allocate more than the file holds.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import EdgecError, InputError
from edgec.formats.gguf.header import ALIGNMENT, MAGIC, SCALAR_CODES, VERSION, align
from edgec.formats.gguf.model import KeyValue, Scalar, ValueType
from edgec.formats.gguf.types import TensorType

_MAX_DIMENSIONS = 4


@dataclass(frozen=True)
class GgufTensor:
    """One tensor: row-major `shape`; `offset` counts from the start of the file."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int
    nbytes: int


@dataclass(frozen=True)
class GgufHeader:
    """What stands before the tensor data. `data_offset`: where that begins in the file."""

    metadata: Mapping[str, KeyValue]
    tensors: Mapping[str, GgufTensor]
    data_offset: int
    file_bytes: int


def read_gguf_header(path: Path) -> GgufHeader:
    """The header of the GGUF at `path`. Raises InputError, and nothing else, when it is not a whole GGUF."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < len(MAGIC):
                raise _wrong(path, "is too short to be a GGUF")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                return _Cursor(view, size, path).header()
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from error


def _wrong(path: Path, message: str) -> EdgecError:
    return InputError.of(message, place=str(path), hint="the file is damaged or not a GGUF: make or fetch it again")


class _Cursor:
    """A position in the file; every step is checked against its end."""

    def __init__(self, view: mmap.mmap, size: int, path: Path) -> None:
        self._view = view
        self._size = size
        self._path = path
        self._at = 0

    def header(self) -> GgufHeader:
        """Read the whole header, from the start of the file."""
        if self._take(len(MAGIC)) != MAGIC:
            raise _wrong(self._path, "is not a GGUF (wrong magic number)")
        version, n_tensors, n_entries = self._unpack("IQQ")
        if version != VERSION:
            raise _wrong(self._path, f"has GGUF version {version}, not {VERSION}")
        metadata: dict[str, KeyValue] = {}
        for entry in self._entries(n_entries):
            if entry.key in metadata:
                raise _wrong(self._path, f"the metadata {entry.key!r} stands twice")
            metadata[entry.key] = entry
        drafts = [self._tensor() for _ in self._counted(n_tensors, 1)]
        alignment = metadata["general.alignment"].value if "general.alignment" in metadata else ALIGNMENT
        if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
            raise _wrong(self._path, f"general.alignment is {alignment}, no power of two")
        start = align(self._at, alignment)
        return GgufHeader(metadata, self._placed(drafts, start, alignment), start, self._size)

    def _entries(self, count: int) -> Iterator[KeyValue]:
        for _ in self._counted(count, 13):
            key = self._string()
            value_type = self._value_type()
            if value_type is not ValueType.ARRAY:
                yield KeyValue(key, value_type, self._value(value_type))
                continue
            item_type = self._value_type()
            (length,) = self._unpack("Q")
            if item_type is ValueType.ARRAY:
                raise _wrong(self._path, f"the metadata {key!r} is an array of arrays")
            yield KeyValue(key, value_type, self._array(item_type, length), item_type)

    def _array(self, item_type: ValueType, length: int) -> tuple[Scalar, ...]:
        if item_type is ValueType.STRING:
            return tuple(self._string() for _ in self._counted(length, 8))
        code = "<" + SCALAR_CODES[item_type]
        data = self._take(length * struct.calcsize(code))
        return tuple(v for (v,) in struct.iter_unpack(code, data))

    def _value(self, value_type: ValueType) -> Scalar:
        if value_type is ValueType.STRING:
            return self._string()
        value: Scalar = self._unpack(SCALAR_CODES[value_type])[0]
        return value

    def _value_type(self) -> ValueType:
        (number,) = self._unpack("I")
        if number not in ValueType.__members__.values():
            raise _wrong(self._path, f"has a metadata value of the unknown type {number}")
        return ValueType(number)

    def _tensor(self) -> GgufTensor:
        name = self._string()
        (dimensions,) = self._unpack("I")
        if dimensions > _MAX_DIMENSIONS:
            raise _wrong(self._path, f"the tensor {name!r} has {dimensions} dimensions")
        shape = self._unpack(f"{dimensions}Q")[::-1]
        number, offset = self._unpack("IQ")
        try:
            tensor_type = TensorType.of_ggml_id(number)
            rows = 1
            for dimension in shape[:-1]:
                rows *= dimension
            nbytes = rows * tensor_type.row_bytes(shape[-1] if shape else 1)
        except (KeyError, ValueError) as error:
            raise _wrong(self._path, f"the tensor {name!r} has a type or a shape that cannot be: {error}") from error
        return GgufTensor(name, shape, tensor_type, offset, nbytes)

    def _placed(self, drafts: list[GgufTensor], start: int, alignment: int) -> dict[str, GgufTensor]:
        """The tensors with offsets in the file, checked: aligned, in order, inside the file, each once."""
        placed: dict[str, GgufTensor] = {}
        end = 0
        for draft in drafts:
            if draft.offset != align(end, alignment):
                raise _wrong(self._path, f"the tensor {draft.name!r} does not follow the one before it")
            end = draft.offset + draft.nbytes
            if start + end > self._size:
                raise _wrong(self._path, f"is truncated: the tensor {draft.name!r} reaches past its end")
            if draft.name in placed:
                raise _wrong(self._path, f"the tensor {draft.name!r} stands twice")
            placed[draft.name] = GgufTensor(draft.name, draft.shape, draft.type, start + draft.offset, draft.nbytes)
        return placed

    def _counted(self, count: int, least_bytes: int) -> range:
        """`range(count)`, if that many things of at least `least_bytes` can still follow."""
        if count * least_bytes > self._size - self._at:
            raise _wrong(self._path, "is truncated: the header announces more than the file holds")
        return range(count)

    def _take(self, size: int) -> bytes:
        if size > self._size - self._at:
            raise _wrong(self._path, "is truncated inside the header")
        data = self._view[self._at : self._at + size]
        self._at += size
        return data

    def _unpack(self, codes: str) -> tuple[int, ...]:
        return struct.unpack("<" + codes, self._take(struct.calcsize("<" + codes)))

    def _string(self) -> str:
        (length,) = self._unpack("Q")
        try:
            return self._take(length).decode()
        except UnicodeDecodeError as error:
            raise _wrong(self._path, "has a string that is not UTF-8") from error
