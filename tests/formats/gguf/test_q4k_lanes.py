"""The fast Q4_K against ggml itself: every byte, on data of every kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgec.formats.gguf import ggml, q4k_lanes
from edgec.formats.gguf.types import TensorType

Values = NDArray[np.float32]
_SHAPE = (61, 768)


def _cut(values: Values) -> Values:
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _with_outliers(rng: np.random.Generator, factor: float) -> Values:
    values = rng.standard_normal(_SHAPE, np.float32) * np.float32(0.02)
    values[rng.random(_SHAPE) < 0.002] *= np.float32(factor)
    return values


def _mostly(rng: np.random.Generator, fill: float) -> Values:
    values = rng.standard_normal(_SHAPE, np.float32)
    values[rng.random(_SHAPE) < 0.97] = fill
    return values


_KINDS: dict[str, Callable[[np.random.Generator], Values]] = {
    "normal": lambda r: r.standard_normal(_SHAPE, np.float32) * np.float32(0.02),
    "bfloat16": lambda r: _cut(r.standard_normal(_SHAPE, np.float32) * np.float32(0.02)),
    "student": lambda r: r.standard_t(2, _SHAPE).astype(np.float32) * np.float32(0.02),
    "outliers": lambda r: _with_outliers(r, 50),
    "huge outliers": lambda r: _with_outliers(r, 1e4),
    "positive": lambda r: np.abs(r.standard_normal(_SHAPE, np.float32)),
    "negative": lambda r: -np.abs(r.standard_normal(_SHAPE, np.float32)),
    "few values": lambda r: r.integers(-2, 3, _SHAPE).astype(np.float32) * np.float32(0.1),
    "mostly zero": lambda r: _mostly(r, 0.0),
    "mostly one number": lambda r: _mostly(r, -0.3),
    "zero": lambda r: np.zeros(_SHAPE, np.float32),
    "constant": lambda r: np.full(_SHAPE, -0.7, np.float32),
    "rows of other sizes": lambda r: (
        r.standard_normal(_SHAPE, np.float32)
        * np.float32(10.0) ** r.integers(-12, 6, (_SHAPE[0], 1)).astype(np.float32)
    ),
    "sub-blocks of other sizes": lambda r: (
        r.standard_normal((_SHAPE[0], 24, 32), np.float32)
        * np.float32(10.0) ** r.integers(-9, 4, (_SHAPE[0], 24, 1)).astype(np.float32)
    ).reshape(_SHAPE),
}


@pytest.mark.skipif(not q4k_lanes.agrees_with_ggml(), reason="this machine's ggml adds in another order")
@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_the_bytes_are_ggmls(kind: str, seed: int) -> None:
    values = _KINDS[kind](np.random.default_rng(seed)).astype(np.float32)
    size = _SHAPE[0] * TensorType.Q4_K.row_bytes(_SHAPE[1])
    ours, theirs = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    q4k_lanes.quantize(values, ours)
    ggml.quantize(TensorType.Q4_K, values, theirs, None)
    different = np.flatnonzero((ours != theirs).reshape(-1, TensorType.Q4_K.block_bytes).any(axis=1))
    assert different.size == 0, f"{different.size} blocks differ, first {different[:3]}"
