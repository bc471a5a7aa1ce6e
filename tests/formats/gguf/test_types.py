"""Tensor types: their numbers against the gguf package and against ggml itself."""

from __future__ import annotations

from typing import get_args

import gguf
import numpy as np
import pytest

from edgec.formats.gguf import ggml
from edgec.formats.gguf.types import SCHEMES, TensorType
from edgec.recipe import model as recipe


@pytest.mark.parametrize("tensor_type", TensorType)
def test_numbers_are_those_of_the_gguf_package(tensor_type: TensorType) -> None:
    theirs = gguf.GGMLQuantizationType(tensor_type.ggml_id)
    assert theirs.name.lower() == tensor_type.label
    assert gguf.GGML_QUANT_SIZES[theirs] == (tensor_type.block_elements, tensor_type.block_bytes)
    assert TensorType.of_label(tensor_type.label) is TensorType.of_ggml_id(tensor_type.ggml_id) is tensor_type


def test_schemes_are_exactly_the_recipes_schemes_with_llama_cpps_numbers() -> None:
    assert set(SCHEMES) == set(get_args(recipe.Scheme))
    assert {t.label for t in TensorType} == set(get_args(recipe.TensorType))
    for name, info in SCHEMES.items():
        prefix = "ALL_" if name == "f32" else "MOSTLY_"
        assert gguf.LlamaFileType[prefix + name.upper()] == info.file_type


def test_a_row_must_be_whole_blocks() -> None:
    assert TensorType.Q4_K.row_bytes(512) == 288
    assert TensorType.F16.row_bytes(3) == 6
    with pytest.raises(ValueError, match="896 columns are not a multiple of q4_k's block of 256"):
        TensorType.Q4_K.row_bytes(896)


@pytest.mark.parametrize("tensor_type", [t for t in TensorType if t is not TensorType.F32])
def test_ggml_quantizes_what_the_gguf_package_reads_back(tensor_type: TensorType) -> None:
    values = np.random.default_rng(0).standard_normal((3, 512)).astype(np.float32)
    out = np.empty(3 * tensor_type.row_bytes(512), np.uint8)
    ggml.quantize(tensor_type, values, out, None)
    ours = ggml.dequantize(tensor_type, out, values.size)
    theirs = gguf.dequantize(out.reshape(3, -1), gguf.GGMLQuantizationType(tensor_type.ggml_id))
    np.testing.assert_allclose(ours, theirs.reshape(-1), rtol=1e-5, atol=1e-6)
    error = float(np.sqrt(np.mean((ours - values.reshape(-1)) ** 2)))
    assert error < {84: 0.35, 110: 0.2}.get(tensor_type.block_bytes, 0.1)


def test_buffers_of_the_wrong_size_never_reach_ggml() -> None:
    values = np.zeros((2, 256), np.float32)
    with pytest.raises(ValueError, match="exactly their size"):
        ggml.quantize(TensorType.Q8_0, values, np.empty(10, np.uint8), None)
    with pytest.raises(ValueError, match="not a multiple"):
        ggml.quantize(TensorType.Q4_K, np.zeros((2, 96), np.float32), np.empty(108, np.uint8), None)
    out = np.empty(2 * TensorType.Q8_0.row_bytes(256), np.uint8)
    with pytest.raises(ValueError, match="importance"):
        ggml.quantize(TensorType.Q8_0, values, out, np.ones(255, np.float32))


@pytest.mark.parametrize("brain", [True, False])
def test_widen_reads_16_bit_floats(brain: bool) -> None:
    values = np.array([0.0, -1.5, 3.0, 65504.0], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16) if brain else values.astype(np.float16).view(np.uint16)
    out = np.empty(4, np.float32)
    ggml.widen(bits, out, brain=brain)
    np.testing.assert_allclose(out, values, rtol=0.01)
