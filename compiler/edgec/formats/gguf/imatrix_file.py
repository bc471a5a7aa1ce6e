"""llama.cpp's importance matrix file: a GGUF with, per weight matrix, sums of squared activations and a count.

Rule: the weights handed to quantization are the float32 numbers llama-quantize computes from the same file; a matrix
that would spoil the model silently (NaN, all zero, wrong length, a tensor missing) is refused by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgec.errors import Diagnostic, EdgecError, InputError
from edgec.formats.gguf.header import TensorEntry, align, pack_header
from edgec.formats.gguf.layout import TensorPlan
from edgec.formats.gguf.model import KeyValue, ValueType
from edgec.formats.gguf.reader import GgufHeader, read_gguf_header
from edgec.formats.gguf.types import TensorType
from edgec.store.atomic import write_file

_SUMS = ".in_sum2"
_COUNTS = ".counts"
_KIND = "imatrix"
# Not collected by default (the embedding is looked up, not multiplied), and llama-quantize does without.
_OPTIONAL = {"token_embd.weight", "output.weight"}
_MAKE_AGAIN = "make it again with `imatrix: {calibration: <text>}` in the recipe, on this very model"


@dataclass(frozen=True, eq=False)
class Imatrix:
    """One weight per input column of each matrix: the mean squared activation, float32, by GGUF tensor name."""

    weights: Mapping[str, NDArray[np.float32]]
    datasets: tuple[str, ...]
    chunk_count: int
    chunk_size: int
    digest: str


def read_imatrix(path: Path) -> Imatrix:
    """The matrix in the file at `path`. Raises InputError naming every tensor that cannot be used."""
    header = read_gguf_header(path)
    kind = header.metadata.get("general.type")
    if kind is None or kind.value != _KIND:
        raise InputError.of(
            "is no importance matrix (its general.type is not imatrix)",
            place=str(path),
            hint="give a file made by edgec or by llama-imatrix in its GGUF format (not the older .dat)",
        )
    data = path.read_bytes()
    weights: dict[str, NDArray[np.float32]] = {}
    mistakes: list[Diagnostic] = []
    for name in sorted({_base_name(t) for t in header.tensors}):
        sums, counts = (_values(header, data, name + suffix) for suffix in (_SUMS, _COUNTS))
        problem = _problem(sums, counts)
        if problem is not None or sums is None or counts is None:
            mistakes.append(Diagnostic(f"the importance of {name} {problem}", place=str(path), hint=_MAKE_AGAIN))
            continue
        # llama-quantize divides in float32 by the rounded count, and takes ones where nothing was counted.
        count = np.float32(np.rint(counts[0]))
        weights[name] = sums / count if count > 0 else np.ones_like(sums)
    if mistakes or not weights:
        raise InputError(*(mistakes or [Diagnostic("holds no tensors", place=str(path), hint=_MAKE_AGAIN)]))
    return Imatrix(
        weights=weights,
        datasets=tuple(str(d) for d in _sequence(header, "imatrix.datasets")),
        chunk_count=_number(header, "imatrix.chunk_count"),
        chunk_size=_number(header, "imatrix.chunk_size"),
        digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
    )


def write_imatrix(
    path: Path,
    sums: Mapping[str, NDArray[np.float32]],
    counts: Mapping[str, int],
    *,
    datasets: Sequence[str],
    chunk_count: int,
    chunk_size: int,
) -> None:
    """Write llama.cpp's file, atomically.

    `sums`: per GGUF tensor name the sums over tokens of the squared activations of each column; `counts`: the tokens
    they were taken over; `chunk_size`: tokens per chunk. Raises InputError for values `read_imatrix` would refuse.
    """
    mistakes = [
        Diagnostic(f"the importance of {name} {problem}", hint="use a longer calibration text in the model's languages")
        for name, values in sorted(sums.items())
        if (problem := _problem(values, np.array([counts[name]], np.float32))) is not None
    ]
    if mistakes:
        raise InputError(*mistakes)
    metadata = (
        KeyValue("general.type", ValueType.STRING, _KIND),
        KeyValue("imatrix.datasets", ValueType.ARRAY, tuple(datasets), ValueType.STRING),
        KeyValue("imatrix.chunk_count", ValueType.UINT32, chunk_count),
        KeyValue("imatrix.chunk_size", ValueType.UINT32, chunk_size),
    )
    entries: list[TensorEntry] = []
    parts: list[bytes] = []
    offset = 0
    for name in sorted(sums):
        for suffix, values in ((_SUMS, sums[name]), (_COUNTS, np.array([counts[name]], np.float32))):
            data = np.ascontiguousarray(values, dtype="<f4").tobytes()
            entries.append(TensorEntry(name + suffix, (1, len(data) // 4), TensorType.F32.ggml_id, offset))
            parts.append(data.ljust(align(len(data)), b"\0"))
            offset += align(len(data))
    write_file(path, b"".join([pack_header(metadata, entries), *parts]))


def importance_of(imatrix: Imatrix, tensors: Iterable[TensorPlan]) -> dict[str, NDArray[np.float32]]:
    """The weights for each quantized tensor, as llama-quantize would use them.

    Raises InputError naming every tensor that has none, or of another length than its columns.
    """
    chosen: dict[str, NDArray[np.float32]] = {}
    mistakes: list[Diagnostic] = []
    for tensor in tensors:
        if not tensor.type.is_quantized:
            continue
        weights = imatrix.weights.get(tensor.name)
        if weights is not None and weights.shape == (tensor.columns,):
            chosen[tensor.name] = weights
        elif weights is not None and tensor.name != "token_embd.weight":
            mistakes.append(
                Diagnostic(
                    f"the importance matrix has {weights.size} columns for {tensor.name}, the model {tensor.columns}",
                    hint=_MAKE_AGAIN,
                )
            )
        elif weights is None and tensor.name not in _OPTIONAL:
            mistakes.append(Diagnostic(f"the importance matrix has nothing for {tensor.name}", hint=_MAKE_AGAIN))
    if mistakes:
        raise InputError(*mistakes)
    return chosen


def _problem(sums: NDArray[np.float32] | None, counts: NDArray[np.float32] | None) -> str | None:
    """What is wrong with one entry, as the end of a sentence."""
    if sums is None or counts is None:
        return "lacks its sums or its counts"
    if counts.size != 1:
        return f"is that of {counts.size} experts, which no supported architecture has"
    if not np.isfinite(sums).all() or not np.isfinite(counts).all():
        return "holds NaN or infinity"
    if (sums < 0).any() or counts[0] < 0:
        return "holds negative sums of squares"
    return None if sums.any() or counts[0] == 0 else "is zero for every column"


def _base_name(name: str) -> str:
    return name.removesuffix(_SUMS).removesuffix(_COUNTS)


def _values(header: GgufHeader, data: bytes, name: str) -> NDArray[np.float32] | None:
    tensor = header.tensors.get(name)
    if tensor is None or tensor.type is not TensorType.F32:
        return None
    return np.frombuffer(data, np.float32, tensor.nbytes // 4, tensor.offset)


def _sequence(header: GgufHeader, key: str) -> tuple[object, ...]:
    entry = header.metadata.get(key)
    return entry.value if entry is not None and isinstance(entry.value, tuple) else ()


def _number(header: GgufHeader, key: str) -> int:
    entry = header.metadata.get(key)
    if entry is None or not isinstance(entry.value, int):
        raise _missing(key)
    return entry.value


def _missing(key: str) -> EdgecError:
    return InputError.of(f"the importance matrix lacks {key}", hint=_MAKE_AGAIN)
