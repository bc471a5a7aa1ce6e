"""Splitting a GGUF into shards, as llama.cpp's loader expects them (`gguf-split`'s metadata).

Rule: no file, header included, is larger than the limit; tensors keep their order; only the first shard holds the
model's metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from edgec.errors import InputError
from edgec.formats.gguf.header import align
from edgec.formats.gguf.model import KeyValue, ValueType

# llama.cpp counts shards in 16 bits.
_MAX_SHARDS = 65535


class Sized(Protocol):
    """A tensor as far as splitting looks at it."""

    @property
    def name(self) -> str: ...

    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=Sized)
# The header bytes of a shard that holds these tensors, as shard `index` of `count`.
HeaderOf = Callable[[Sequence[T], int, int], bytes]


def split_metadata(index: int, count: int, tensors: int) -> tuple[KeyValue, ...]:
    """The entries of shard `index` (from 0) of `count`, with `tensors` tensors in all shards together."""
    return (
        KeyValue("split.no", ValueType.UINT16, index),
        KeyValue("split.count", ValueType.UINT16, count),
        KeyValue("split.tensors.count", ValueType.INT32, tensors),
    )


def split_tensors(tensors: Sequence[T], header_of: HeaderOf[T], limit_bytes: int | None) -> list[list[T]]:
    """Group `tensors` so that no shard is larger than `limit_bytes`; one group when there is no limit or all fit.

    Raises InputError when the metadata or one tensor alone is larger.
    """
    everything = list(tensors)
    if limit_bytes is None or len(header_of(everything, 0, 1)) + _data_bytes(everything) <= limit_bytes:
        return [everything]
    # Sizes are additive, so a header is only made once: entries differ in their names and number of dimensions.
    groups: list[list[T]] = [[]]
    size = len(header_of([], 0, 2))
    _check("the metadata (the vocabulary)", size, limit_bytes)
    for tensor in everything:
        need = len(header_of([tensor], 1, 2)) - len(header_of([], 1, 2)) + align(tensor.nbytes) + align(1)
        if size + need > limit_bytes:
            groups.append([])
            size = len(header_of([], 1, 2))
            _check(f"the tensor {tensor.name}", size + need, limit_bytes)
        groups[-1].append(tensor)
        size += need
    if len(groups) > _MAX_SHARDS:
        raise InputError.of(f"{len(groups)} shards are too many", hint="write a larger shard_size_mib in the recipe")
    return groups


def _data_bytes(tensors: Sequence[Sized]) -> int:
    return sum(align(t.nbytes) for t in tensors)


def _check(what: str, size: int, limit: int) -> None:
    if size > limit:
        mib = -(-size // (1 << 20))
        raise InputError.of(
            f"{what} alone needs {size} bytes, more than a shard of {limit} bytes holds",
            hint=f"write shard_size_mib: {mib} or more in the recipe, or a scheme with fewer bits",
        )
