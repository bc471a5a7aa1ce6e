"""GGUF metadata of a model: `general.*` and `<arch>.*`. Rule: nothing that differs between two builds of the same
checkpoint (folder names, dates, hosts) is written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from edgec.errors import InputError
from edgec.formats.gguf.architectures.config import is_number, show
from edgec.formats.gguf.architectures.files import read_object
from edgec.formats.gguf.model import KeyValue, TensorMapping, ValueType
from edgec.source.model import CheckpointHeader

# What the publisher recommends for sampling: transformers' key, GGUF's key, GGUF's type.
_SAMPLING = (
    ("top_k", "top_k", ValueType.INT32),
    ("top_p", "top_p", ValueType.FLOAT32),
    ("min_p", "min_p", ValueType.FLOAT32),
    ("temperature", "temp", ValueType.FLOAT32),
    ("repetition_penalty", "penalty_repeat", ValueType.FLOAT32),
)


class MetadataWriter:
    """Collects an architecture's entries in the order they are written; keys get the `<arch>.` prefix."""

    def __init__(self, arch: str) -> None:
        self.arch = arch
        self._entries: list[KeyValue] = []

    def integer(self, key: str, value: int) -> None:
        """A UINT32."""
        self._add(key, ValueType.UINT32, value)

    def number(self, key: str, value: float) -> None:
        """A FLOAT32, rounded here so that what is planned equals what is read back."""
        self._add(key, ValueType.FLOAT32, as_float32(value))

    def flag(self, key: str, value: bool) -> None:
        """A BOOL."""
        self._add(key, ValueType.BOOL, value)

    def text(self, key: str, value: str) -> None:
        """A STRING."""
        self._add(key, ValueType.STRING, value)

    def flags(self, key: str, values: tuple[bool, ...]) -> None:
        """An ARRAY of BOOL."""
        self._entries.append(KeyValue(f"{self.arch}.{key}", ValueType.ARRAY, values, ValueType.BOOL))

    def entries(self) -> tuple[KeyValue, ...]:
        """What was collected."""
        return tuple(self._entries)

    def _add(self, key: str, kind: ValueType, value: bool | int | float | str) -> None:
        self._entries.append(KeyValue(f"{self.arch}.{key}", kind, value))


def general_entries(
    arch: str, name: str, header: CheckpointHeader, tensors: Iterable[TensorMapping]
) -> tuple[KeyValue, ...]:
    """`general.*`: what the file is, its public name, size and licence, and the publisher's sampling settings."""
    entries = [
        KeyValue("general.architecture", ValueType.STRING, arch),
        KeyValue("general.type", ValueType.STRING, "model"),
        *_sampling(header),
        KeyValue("general.name", ValueType.STRING, name),
        KeyValue("general.size_label", ValueType.STRING, size_label(sum(_elements(t) for t in tensors))),
    ]
    if header.identity.licence:
        entries.append(KeyValue("general.license", ValueType.STRING, header.identity.licence))
    return tuple(entries)


def size_label(parameters: int) -> str:
    """A parameter count as people say it, with at least two digits: `1.2B`, `135M`."""
    for unit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if parameters > unit or suffix == "K":
            scaled = parameters / unit
            decimals = max(2 - len(str(round(scaled)).lstrip("0")), 0)
            return f"{scaled:.{decimals}f}{suffix}"
    raise AssertionError("unreachable: K is always taken")


def as_float32(value: float) -> float:
    """`value` rounded to float32."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])


def _elements(tensor: TensorMapping) -> int:
    n = 1
    for size in tensor.shape:
        n *= size
    return n


def _sampling(header: CheckpointHeader) -> list[KeyValue]:
    place = "generation_config.json"
    settings = read_object(header, place) or {}
    entries = []
    for source, key, kind in _SAMPLING:
        value = settings.get(source)
        if value is None:
            continue
        if not is_number(value):
            raise InputError.of(
                f"{source} is {show(value)}, but must be a number", place=place, hint=f"correct or remove {source!r}"
            )
        exact = int(value) if kind is ValueType.INT32 else as_float32(value)
        entries.append(KeyValue(f"general.sampling.{key}", kind, exact))
    return entries
