"""The kernels against ggml on whatever Hypothesis draws, and on models of published shapes; and what both refuse."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import tiny_models
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_models import TinyShape
from weights import read_weights

from edgec.errors import InputError, ToolError
from edgec.events import silent
from edgec.formats.gguf import ggml
from edgec.formats.gguf.compile import compile_gguf
from edgec.formats.gguf.lanes import registry
from edgec.formats.gguf.layout import plan_layout
from edgec.formats.gguf.types import TensorType
from edgec.source.model import Checkpoint, DType

Values = NDArray[np.float32]
Shape = tuple[int, int]
_KEYS = [(t, i) for t in TensorType if t.is_quantized for i in (False, True)]
_MOST_ELEMENTS, _MOST_ROWS = 6144, 12

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

_DISTRIBUTIONS: Mapping[str, Callable[[np.random.Generator, Shape], NDArray[np.float64]]] = {
    "normal": lambda r, s: r.standard_normal(s),
    "laplace": lambda r, s: r.laplace(size=s),
    "student": lambda r, s: r.standard_t(1.5, s),
    "lognormal": lambda r, s: r.lognormal(0, 2, s) * r.choice([-1.0, 1.0], s),
    "uniform": lambda r, s: r.uniform(-1, 1, s),
    "two peaks": lambda r, s: r.choice([-1.0, 1.0], s) + r.standard_normal(s) * 0.02,
    "few numbers": lambda r, s: r.choice(r.standard_normal(5), s),
    "whole numbers": lambda r, s: r.integers(-40, 41, s).astype(np.float64),
}
# What the source's type leaves of a float32.
_PRECISIONS: Mapping[str, Callable[[Values], Values]] = {
    "float32": lambda v: v,
    "bfloat16": lambda v: (v.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32),
    "float16": lambda v: v.clip(-65504, 65504).astype(np.float16).astype(np.float32),
}


@dataclass(frozen=True)
class Sample:
    """How to make rows of weights. Powers are of ten; `spread`: by how many of them groups of elements differ."""

    rows: int
    blocks: int
    distribution: str
    precision: str
    power: float
    spread: float
    group: int
    sparsity: float
    fill: float
    sign: int
    shift: float
    seed: int

    def values(self, rng: np.random.Generator, columns: int) -> Values:
        """The rows."""
        shape = (self.rows, columns)
        drawn = _DISTRIBUTIONS[self.distribution](rng, shape)
        drawn = np.abs(drawn) * self.sign if self.sign else drawn
        powers = rng.uniform(-self.spread, 0, drawn.size // self.group).repeat(self.group).reshape(shape)
        drawn = (drawn + self.shift) * 10.0 ** (self.power + powers)
        drawn[rng.random(shape) < self.sparsity] = self.fill * 10.0**self.power
        with np.errstate(under="ignore"):
            return _PRECISIONS[self.precision](drawn.clip(-1e30, 1e30).astype(np.float32))


_SAMPLES = st.builds(
    Sample,
    rows=st.integers(1, _MOST_ROWS),
    blocks=st.integers(1, 64),
    distribution=st.sampled_from(sorted(_DISTRIBUTIONS)),
    precision=st.sampled_from(sorted(_PRECISIONS)),
    power=st.one_of(st.floats(-3, 1), st.floats(-45, 30)),
    spread=st.one_of(st.just(0.0), st.floats(0, 40)),
    group=st.sampled_from([1, 16, 32]),
    sparsity=st.one_of(st.just(0.0), st.floats(0, 1), st.sampled_from([0.95, 1.0])),
    fill=st.sampled_from([0.0, -0.0, 0.3, -1.0]),
    sign=st.sampled_from([0, 0, 1, -1]),
    shift=st.sampled_from([0.0, 0.0, 3.0, -100.0]),
    seed=st.integers(0, 2**32 - 1),
)
_PLAIN = Sample(8, 9, "normal", "bfloat16", -1.5, 0.0, 32, 0.0, 0.0, 0, 0.0, 0)


@st.composite
def _importances(draw: st.DrawFn) -> Callable[[np.random.Generator, int], Values]:
    power, spread = draw(st.floats(-30, 8)), draw(st.one_of(st.just(0.0), st.floats(0, 30)))
    zeros = draw(st.one_of(st.just(0.0), st.floats(0, 1)))

    def make(rng: np.random.Generator, columns: int) -> Values:
        weights = rng.standard_exponential(columns) * 10.0 ** (power + rng.uniform(-spread, 0, columns))
        weights[rng.random(columns) < zeros] = 0
        return weights.astype(np.float32)

    return make


def _quantized(quantize: Callable[..., None], tensor_type: TensorType, values: Values, importance: Values | None):  # type: ignore[no-untyped-def]
    out = np.zeros(len(values) * tensor_type.row_bytes(values.shape[1]), np.uint8)
    try:
        quantize(tensor_type, values, out, importance)
    except ToolError:
        return None
    return out.reshape(-1, tensor_type.block_bytes)


def _assert_ggmls_bytes(tensor_type: TensorType, values: Values, importance: Values | None) -> None:
    theirs = _quantized(ggml.quantize, tensor_type, values, importance)
    ours = _quantized(registry.quantize, tensor_type, values, importance)
    assert (ours is None) == (theirs is None), "only one of both refuses"
    if ours is not None and theirs is not None:
        different = np.flatnonzero((ours != theirs).any(axis=1))
        assert different.size == 0, f"{different.size} of {len(ours)} blocks differ, first {different[:3]}"


def _name(key: tuple[TensorType, bool]) -> str:
    return f"{key[0].label}{'-importance' if key[1] else ''}"


@pytest.mark.parametrize("key", _KEYS, ids=_name)
def test_any_weights_give_ggmls_bytes(key: tuple[TensorType, bool]) -> None:
    tensor_type, with_importance = key
    importances = _importances() if with_importance else st.none()

    @settings(max_examples=100, deadline=None, database=None)
    @given(sample=_SAMPLES, weigh=importances)
    @example(sample=_PLAIN, weigh=(lambda r, n: r.random(n).astype(np.float32)) if with_importance else None)
    def check(sample: Sample, weigh: Callable[[np.random.Generator, int], Values] | None) -> None:
        block = tensor_type.block_elements
        columns = block * min(sample.blocks, max(1, _MOST_ELEMENTS // block // sample.rows))
        rng = np.random.default_rng(sample.seed)
        values = np.ascontiguousarray(sample.values(rng, columns))
        _assert_ggmls_bytes(tensor_type, values, weigh(rng, columns) if weigh is not None else None)

    check()


# Width, feed-forward width and heads as published; one block, and a vocabulary that does not take minutes.
_MODELS = {
    "smollm2-135m": TinyShape("llama", 1, 576, 1536, 9, 3, vocabulary=512, tied=True),
    "tinyllama-1.1b": TinyShape("llama", 1, 2048, 5632, 32, 4, vocabulary=512, tied=True, dtype=DType.F16),
}
# Of every tensor, spread over its rows.
_COMPARED_ELEMENTS = 1 << 17


@pytest.fixture(scope="module", params=_MODELS)
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Values]:
    """Every tensor of a model of random weights; of large ones as many rows as are compared."""
    checkpoint = tiny_models.write_random(tmp_path_factory.mktemp("model"), _MODELS[request.param])
    return {
        name: values[:: max(1, values.size // _COMPARED_ELEMENTS)] for name, values in read_weights(checkpoint).items()
    }


@pytest.mark.parametrize("key", _KEYS, ids=_name)
def test_the_tensors_of_models_have_ggmls_bytes(key: tuple[TensorType, bool], weights: dict[str, Values]) -> None:
    tensor_type, with_importance = key
    rng = np.random.default_rng(1)
    fitting = [values for values in weights.values() if tensor_type.fits(values.shape[1])]
    assert fitting
    for values in fitting:
        importance = rng.standard_exponential(values.shape[1], np.float32) if with_importance else None
        _assert_ggmls_bytes(tensor_type, np.ascontiguousarray(values), importance)


_SHAPE = TinyShape("llama", 1, 256, 256, 4, 2, vocabulary=64)
_NOT_FINITE = {DType.F32: ("<I", 0x7F800000, 23), DType.F16: ("<H", 0x7C00, 10), DType.BF16: ("<H", 0x7F80, 7)}


@pytest.fixture(scope="module", params=_NOT_FINITE, ids=lambda d: d.value)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A model whose weights the test may spoil."""
    shape = TinyShape(**{**vars(_SHAPE), "dtype": request.param})
    return tiny_models.write_random(tmp_path_factory.mktemp("spoilt"), shape)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_weights_that_are_not_finite_are_named(
    checkpoint: Checkpoint, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every NaN, quiet or signalling, and both infinities, by tensor and position."""
    name = data.draw(st.sampled_from(sorted(checkpoint.header.tensors)))
    info = checkpoint.header.tensors[name]
    index = data.draw(st.integers(0, info.nbytes // info.dtype.itemsize - 1))
    code, infinity, mantissa_bits = _NOT_FINITE[info.dtype]
    mantissa = data.draw(st.one_of(st.just(0), st.integers(0, (1 << mantissa_bits) - 1)))
    sign = data.draw(st.integers(0, 1)) << (8 * info.dtype.itemsize - 1)
    path = checkpoint.root / info.file
    before = path.read_bytes()
    spoilt = bytearray(before)
    spoilt_at = info.offset + index * info.dtype.itemsize
    spoilt[spoilt_at : spoilt_at + info.dtype.itemsize] = struct.pack(code, sign | infinity | mantissa)
    layout = plan_layout(
        tiny_models.map_by_hand(checkpoint),
        tiny_models.vocabulary_by_hand(checkpoint),
        checkpoint.header.tensors,
        scheme=data.draw(st.sampled_from(["q4_k_m", "q8_0", "f16", "source"])),
    )
    path.write_bytes(spoilt)
    try:
        with pytest.raises(InputError) as caught:
            compile_gguf(
                checkpoint, layout, tmp_path_factory.mktemp("out"), imatrix=None, report=silent, action="compile"
            )
    finally:
        path.write_bytes(before)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.place == f"{info.file}: tensor '{name}'"
    assert diagnostic.message.endswith(f"index {index} is {'nan' if mantissa else '-inf' if sign else 'inf'}")
