"""Known vectors: a fixed sample, and the digests of what ggml on x86-64 makes of it, by type.

Rule: the sample comes from a hash by operations that IEEE 754 rounds in one way only, so it is the same everywhere and
with every version of numpy. `ci/known-digests` writes the digests; ggml on other processors has other bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf.types import TensorType

Floats = NDArray[np.float32]
# Takes type, values, output and importance, as `ggml.quantize` does.
Quantize = Callable[[TensorType, Floats, NDArray[np.uint8], Floats | None], None]

# Rows of several tiles; a row of each kind below.
_COLUMNS = 1024


def _integers(name: str, count: int) -> NDArray[np.uint32]:
    return np.frombuffer(hashlib.shake_128(name.encode()).digest(4 * count), "<u4").astype(np.uint32)


def _bell(name: str) -> Floats:
    """Nearly normal numbers, of standard deviation 0.6 and at most 2."""
    quarters = _integers(name, 4 * _COLUMNS).reshape(4, -1) >> 16
    sums: Floats = (quarters.astype(np.int64).sum(axis=0) - (1 << 17)).astype(np.float32)
    return np.ldexp(sums, -16).astype(np.float32)


def _sizes(name: str, group: int, low: int, high: int) -> Floats:
    """Powers of two, one for each `group` numbers."""
    powers = low + (_integers(name, _COLUMNS // group) % (high - low + 1)).astype(np.int32)
    return np.repeat(np.ldexp(np.float32(1), powers), group).astype(np.float32)


def sample() -> tuple[Floats, Floats]:
    """The values (rows, columns), and an importance of each column."""
    divisors = (_integers("divisors", _COLUMNS) % 200 + 1).astype(np.float32)
    few = (_integers("few", _COLUMNS) % 5).astype(np.float32) - np.float32(2)
    rows = [
        np.ldexp(_bell("normal"), -5),
        _bell("heavy-tailed") / divisors,
        np.where(_integers("zeros", _COLUMNS) % 10 == 0, _bell("sparse"), np.float32(0)),
        _bell("groups of 32") * _sizes("sizes of 32", 32, -30, 12),
        _bell("groups of 16") * _sizes("sizes of 16", 16, -16, 10),
        _bell("elements") * _sizes("sizes", 1, -60, 10),
        np.ldexp(few, -149),
        np.ldexp(_bell("tiny"), -130),
        np.ldexp(_bell("squares are denormal"), -66),
        np.ldexp(_bell("great"), 13),
        few * np.float32(0.1),
        -np.abs(_bell("negative")),
        np.full(_COLUMNS, -0.7, np.float32),
    ]
    columns = (_integers("weights", 2 * _COLUMNS) >> 12).astype(np.float32).reshape(2, -1)
    return np.array(rows, np.float32), columns[0] / (columns[1] + np.float32(1))


def digest(quantize: Quantize, tensor_type: TensorType, *, with_importance: bool) -> str:
    """The digest of what `quantize` makes of the sample."""
    values, importance = sample()
    out = np.zeros(len(values) * tensor_type.row_bytes(values.shape[1]), np.uint8)
    quantize(tensor_type, values, out, importance if with_importance else None)
    return hashlib.sha256(out.tobytes()).hexdigest()


def all_digests(quantize: Quantize) -> dict[str, str]:
    """The digests of every quantized type, by `key_of`."""
    types = [t for t in TensorType if t.is_quantized]
    return {key_of(t, i): digest(quantize, t, with_importance=i) for t in types for i in (False, True)}


def key_of(tensor_type: TensorType, with_importance: bool) -> str:
    """The name of a digest."""
    return f"{tensor_type.label}, importance" if with_importance else tensor_type.label


def stored_digests() -> dict[str, str]:
    """The digests of ggml on x86-64, by `key_of`."""
    found: dict[str, str] = json.loads(files(__package__).joinpath("known_digests.json").read_text("utf-8"))
    return found
