"""GGUF metadata of a model: `general.*` and `<arch>.*`. Rule: nothing that differs between two builds of the same
checkpoint (folder names, dates, hosts) is written.
"""

from __future__ import annotations

import struct

from ....source.model import SourceIdentity
from ..model import KeyValue, ValueType


class MetadataWriter:
    """Collects entries in the order they are written; keys get the `<arch>.` prefix."""

    def __init__(self, arch: str, name: str, identity: SourceIdentity) -> None:
        self._arch = arch
        self._entries: list[KeyValue] = [
            KeyValue("general.architecture", ValueType.STRING, arch),
            KeyValue("general.type", ValueType.STRING, "model"),
            KeyValue("general.name", ValueType.STRING, name),
        ]
        if identity.licence:
            self._entries.append(KeyValue("general.license", ValueType.STRING, identity.licence))

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
        self._entries.append(KeyValue(f"{self._arch}.{key}", ValueType.ARRAY, values, ValueType.BOOL))

    def entries(self) -> tuple[KeyValue, ...]:
        """What was collected."""
        return tuple(self._entries)

    def _add(self, key: str, kind: ValueType, value: bool | int | float | str) -> None:
        self._entries.append(KeyValue(f"{self._arch}.{key}", kind, value))


def as_float32(value: float) -> float:
    """`value` rounded to float32."""
    return float(struct.unpack("<f", struct.pack("<f", value))[0])
