"""The kernels against ggml itself: every byte, of every type, on data of every kind."""

from __future__ import annotations

import platform
from collections.abc import Callable

import numpy as np
import pytest
import tiny_models
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgec.errors import ToolError
from edgec.formats.gguf import ggml
from edgec.formats.gguf.lanes import known, registry
from edgec.formats.gguf.types import TensorType
from edgec.source.local import open_local
from edgec.source.model import DType
from edgec.source.reader import TensorReader

Values = NDArray[np.float32]
_SHAPE = (29, 768)
_KEYS = [(t, i) for t in sorted(registry.KERNELS, key=lambda t: str(t.label)) for i in (False, True)]
_NAMES = [f"{t.label}{'-importance' if i else ''}" for t, i in _KEYS]

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")


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


def _scaled(rng: np.random.Generator, group: int, low: int, high: int) -> Values:
    """Groups of `group` elements of sizes 10^low to 10^high."""
    values = rng.standard_normal((_SHAPE[0] * _SHAPE[1] // group, group), np.float32)
    powers = np.float32(10.0) ** rng.integers(low, high, (len(values), 1)).astype(np.float32)
    return (values * powers).reshape(_SHAPE)


def _between_levels(rng: np.random.Generator) -> Values:
    """Sub-blocks of 16 whole levels, but one element that rounding errors alone put on either side of a half."""
    values = rng.integers(-4, 4, (_SHAPE[0] * _SHAPE[1] // 16, 16)).astype(np.float32)
    values[:, 0] = -4
    halves = (rng.integers(-4, 3, len(values)) + 0.5) * (1 + rng.integers(-4, 5, len(values)) * 2.0**-22)
    values[:, 7] = halves.astype(np.float32)
    return (values * rng.uniform(0.001, 0.1, (len(values), 1)).astype(np.float32)).reshape(_SHAPE)


_KINDS: dict[str, Callable[[np.random.Generator], Values]] = {
    "normal": lambda r: r.standard_normal(_SHAPE, np.float32) * np.float32(0.02),
    "bfloat16": lambda r: _cut(r.standard_normal(_SHAPE, np.float32) * np.float32(0.02)),
    "float16": lambda r: (r.standard_normal(_SHAPE) * 0.02).astype(np.float16).astype(np.float32),
    "student": lambda r: r.standard_t(2, _SHAPE).astype(np.float32) * np.float32(0.02),
    "outliers": lambda r: _with_outliers(r, 50),
    "huge outliers": lambda r: _with_outliers(r, 1e4),
    "positive": lambda r: np.abs(r.standard_normal(_SHAPE, np.float32)),
    "negative": lambda r: -np.abs(r.standard_normal(_SHAPE, np.float32)),
    "far from zero": lambda r: r.standard_normal(_SHAPE, np.float32) * np.float32(0.01) - np.float32(3),
    "few values": lambda r: r.integers(-2, 3, _SHAPE).astype(np.float32) * np.float32(0.1),
    "between levels": _between_levels,
    "mostly zero": lambda r: _mostly(r, 0.0),
    "mostly minus zero": lambda r: _mostly(r, -0.0),
    "mostly one number": lambda r: _mostly(r, -0.3),
    "zero": lambda _: np.zeros(_SHAPE, np.float32),
    "minus zero": lambda _: np.full(_SHAPE, -0.0, np.float32),
    "constant": lambda _: np.full(_SHAPE, -0.7, np.float32),
    "positive constant": lambda _: np.full(_SHAPE, 0.7, np.float32),
    "tiny": lambda r: r.standard_normal(_SHAPE, np.float32) * np.float32(1e-15),
    "squares are denormal": lambda r: r.standard_normal(_SHAPE, np.float32) * np.float32(1e-20),
    "denormal": lambda r: r.integers(-9, 10, _SHAPE).astype(np.float32) * np.float32(1e-44),
    "great": lambda r: r.standard_normal(_SHAPE, np.float32) * np.float32(3e3),
    "rows of other sizes": lambda r: _scaled(r, 768, -12, 5),
    "sub-blocks of 32 of other sizes": lambda r: _scaled(r, 32, -9, 4),
    "sub-blocks of 16 of other sizes": lambda r: _scaled(r, 16, -5, 3),
    "elements of other sizes": lambda r: _scaled(r, 1, -20, 3),
}
_IMPORTANCES: dict[str, Callable[[np.random.Generator, int], Values]] = {
    "exponential": lambda r, n: r.standard_exponential(n, np.float32),
    "constant": lambda _, n: np.ones(n, np.float32),
    "many zeros": lambda r, n: np.where(r.random(n) < 0.7, 0, r.random(n)).astype(np.float32),
    "wide": lambda r, n: (10.0 ** r.integers(-18, 9, n)).astype(np.float32),
    "tiny": lambda r, n: r.random(n).astype(np.float32) * np.float32(1e-30),
}


def _assert_ggmls_bytes(tensor_type: TensorType, values: Values, importance: Values | None) -> None:
    size = len(values) * tensor_type.row_bytes(values.shape[1])
    ours, theirs = np.zeros(size, np.uint8), np.ones(size, np.uint8)
    registry.quantize(tensor_type, values, ours, importance)
    ggml.quantize(tensor_type, values, theirs, importance)
    different = np.flatnonzero((ours != theirs).reshape(-1, tensor_type.block_bytes).any(axis=1))
    assert different.size == 0, f"{different.size} blocks differ, first {different[:3]}"


@pytest.fixture(scope="module", params=_KEYS, ids=_NAMES)
def key(request: pytest.FixtureRequest) -> tuple[TensorType, bool]:
    """A type, and whether with an importance matrix; skipped where ggml itself has other bytes."""
    if platform.machine() not in ggml.REFERENCE_MACHINES:
        pytest.skip("ggml fuses multiplications and additions here")
    tensor_type, with_importance = request.param
    return tensor_type, with_importance


def test_the_known_digests_are_ggmls(key: tuple[TensorType, bool]) -> None:
    tensor_type, with_importance = key
    stored = known.stored_digests()[known.key_of(tensor_type, with_importance)]
    assert known.digest(ggml.quantize, tensor_type, with_importance=with_importance) == stored
    assert registry.makes_known_bytes(tensor_type, with_importance=with_importance)


def test_every_quantized_type_has_a_kernel() -> None:
    assert set(registry.KERNELS) == {t for t in TensorType if t.is_quantized}


@pytest.mark.parametrize("kind", _KINDS)
def test_the_bytes_are_ggmls(key: tuple[TensorType, bool], kind: str) -> None:
    tensor_type, with_importance = key
    for seed in range(2):
        rng = np.random.default_rng(seed)
        values = np.ascontiguousarray(_KINDS[kind](rng), np.float32)
        for name in _IMPORTANCES if with_importance else ("none",):
            importance = _IMPORTANCES[name](rng, _SHAPE[1]) if with_importance else None
            _assert_ggmls_bytes(tensor_type, values, importance)


def _assert_same_bytes_or_refusal(tensor_type: TensorType, values: Values, importance: Values | None) -> None:
    """ggml refuses blocks whose scale is no half-precision number; where it makes valid bytes, so do the kernels."""
    size = len(values) * tensor_type.row_bytes(values.shape[1])
    try:
        ggml.quantize(tensor_type, values, np.zeros(size, np.uint8), importance)
    except ToolError:
        with pytest.raises(ToolError, match="no valid"):
            registry.quantize(tensor_type, values, np.zeros(size, np.uint8), importance)
    else:
        _assert_ggmls_bytes(tensor_type, values, importance)


def test_numbers_that_overflow_or_are_denormal_are_ggmls(key: tuple[TensorType, bool]) -> None:
    tensor_type, with_importance = key
    rng = np.random.default_rng(0)
    importance = rng.standard_exponential(256, np.float32) if with_importance else None
    for exponent in range(-45, 39):
        values = (rng.standard_normal((1, 256)).clip(-3, 3) * 10.0**exponent).astype(np.float32)
        _assert_same_bytes_or_refusal(tensor_type, values, importance)


def test_any_bits_are_ggmls(key: tuple[TensorType, bool]) -> None:
    """Numbers of any bits, with importances of any size: sums overflow, and negative scales wrap around in bytes."""
    tensor_type, with_importance = key
    rng = np.random.default_rng(0)
    for _ in range(100):
        values = rng.integers(0, 1 << 32, (2, 512), np.uint32).view(np.float32)
        if rng.random() < 0.5:
            values = (rng.standard_normal((2, 512)) * 10.0 ** rng.uniform(-25, 5, (2, 512))).astype(np.float32)
        values = np.where(np.isfinite(values), values, np.float32(0))
        importance = (10.0 ** rng.uniform(-45, 38, 512)).astype(np.float32) if with_importance else None
        _assert_same_bytes_or_refusal(tensor_type, values, importance)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_numbers_give_ggmls_bytes(key: tuple[TensorType, bool], data: st.DataObject) -> None:
    tensor_type, with_importance = key
    block = tensor_type.block_elements
    rows, columns = data.draw(st.integers(1, 3)), block * data.draw(st.integers(1, 5))
    numbers = data.draw(st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=40))
    picks = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))).integers(0, len(numbers), (rows, columns))
    importance = None
    if with_importance:
        weights = data.draw(st.lists(st.floats(0, 2.0**20, width=32), min_size=1, max_size=9))
        importance = np.resize(np.array(weights, np.float32), columns)
    _assert_ggmls_bytes(tensor_type, np.array(numbers, np.float32)[picks], importance)


@pytest.fixture(scope="module")
def docs_llama() -> dict[str, Values]:
    """Every tensor of the quickstart model with rows of 256 elements, or what 256 divides of it."""
    source = open_local(tiny_models.DOCS_LLAMA)
    tensors = {}
    with TensorReader(source) as reader:
        for name, info in source.header.tensors.items():
            raw = np.empty(info.nbytes, np.uint8)
            reader.pread(info, 0, info.nbytes, raw.data)
            values = np.empty(info.nbytes // info.dtype.itemsize, np.float32)
            if info.dtype is DType.F32:
                values = raw.view(np.float32)
            else:
                ggml.widen(raw.view(np.uint16), values, brain=info.dtype is DType.BF16)
            tensors[name] = values[: values.size // 256 * 256].reshape(-1, 256)
    return tensors


def test_every_tensor_of_the_quickstart_model_has_ggmls_bytes(
    key: tuple[TensorType, bool], docs_llama: dict[str, Values]
) -> None:
    tensor_type, with_importance = key
    rng = np.random.default_rng(0)
    for values in docs_llama.values():
        importance = rng.standard_exponential(256, np.float32) if with_importance else None
        _assert_ggmls_bytes(tensor_type, values, importance)
    assert docs_llama
