"""One reader for plain and quantized checkpoints: every layout against codes packed bit by bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import packed_models as packed
import pytest
from packed_models import GROUP, INPUTS, NAME, OUTPUTS, write_checkpoint

from edgec.errors import InputError
from edgec.quantize.weights import LinearInfo, Weights, open_weights, plan_weights
from edgec.source.model import Checkpoint

AWQ = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm"}}
GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True}}
SQ = {"quantization_config": {"quant_method": "modelopt", "quant_algo": "W8A8_SQ_PER_CHANNEL"}}


def awq(folder: Path, zeros: packed.Array, **changes: Any) -> Checkpoint:
    tensors = {
        f"{NAME}.qweight": packed.pack_awq_slowly(packed.random_codes()),
        f"{NAME}.qzeros": packed.pack_awq_slowly(zeros),
        f"{NAME}.scales": np.ascontiguousarray(packed.random_scales().T),
        f"{NAME}.bias": np.zeros(OUTPUTS, np.float16),
    }
    return write_checkpoint(folder, {**tensors, **changes}, AWQ)


def gptq(folder: Path, stored: packed.Array, kind: str = "gptq", sym: bool = True, **changes: Any) -> Checkpoint:
    tensors = {
        f"{NAME}.qweight": packed.pack_gptq_slowly(packed.random_codes()),
        f"{NAME}.qzeros": packed.pack_zeros_slowly(stored),
        f"{NAME}.scales": np.ascontiguousarray(packed.random_scales().T),
        f"{NAME}.g_idx": (np.arange(INPUTS) // GROUP).astype(np.int32),
    }
    settings = {**GPTQ["quantization_config"], "checkpoint_format": kind, "sym": sym}
    return write_checkpoint(folder, {**tensors, **changes}, {"quantization_config": settings})


def zeros(value: int) -> packed.Array:
    return np.full((OUTPUTS, INPUTS // GROUP), value, np.uint8)


def check(weights: Weights, zero: packed.Array | int) -> None:
    """Every slab of rows has the codes that were packed."""
    signed = packed.random_codes().astype(int) - zero
    for begin, end in [(0, OUTPUTS), (8, 16), (40, OUTPUTS), (0, 8)]:
        np.testing.assert_array_equal(weights.codes(NAME, begin, end), signed[begin:end])
        scales = packed.random_scales().astype(np.float32)
        np.testing.assert_array_equal(weights.scales(NAME, begin, end), scales[begin:end])
        values = signed * packed.expanded(scales)
        np.testing.assert_array_equal(weights.rows(f"{NAME}.weight", begin, end), values[begin:end].astype(np.float32))


def test_awq(tmp_path: Path) -> None:
    with open_weights(awq(tmp_path, zeros(8))) as weights:
        assert weights.linear(NAME) == LinearInfo(NAME, OUTPUTS, INPUTS, 4, GROUP, True, False)
        assert weights.input_scale(NAME) is None
        check(weights, 8)


def test_awq_with_zero_points(tmp_path: Path) -> None:
    points = np.random.default_rng(5).integers(0, 16, (OUTPUTS, INPUTS // GROUP)).astype(np.uint8)
    with open_weights(awq(tmp_path, points)) as weights:
        with pytest.raises(InputError, match="zero points are not the middle") as caught:
            weights.codes(NAME, 0, OUTPUTS)
        assert caught.value.diagnostics[0].hint
        signed = packed.random_codes().astype(np.float32) - packed.expanded(points)
        values = signed * packed.expanded(packed.random_scales().astype(np.float32))
        np.testing.assert_array_equal(weights.rows(f"{NAME}.weight", 0, OUTPUTS), values)


@pytest.mark.parametrize(("kind", "stored"), [("gptq", 7), ("gptq_v2", 8), ("gptq", 8)])
def test_gptq(tmp_path: Path, kind: str, stored: int) -> None:
    with open_weights(gptq(tmp_path, zeros(stored), kind)) as weights:
        assert weights.linear(NAME) == LinearInfo(NAME, OUTPUTS, INPUTS, 4, GROUP, False, False)
        check(weights, 8)


@pytest.mark.parametrize(("kind", "offset"), [("gptq", 1), ("gptq_v2", 0)])
def test_gptq_with_zero_points(tmp_path: Path, kind: str, offset: int) -> None:
    with open_weights(gptq(tmp_path, zeros(3), kind, sym=False)) as weights:
        signed = packed.random_codes().astype(np.float32) - np.float32(3 + offset)
        values = signed * packed.expanded(packed.random_scales().astype(np.float32))
        np.testing.assert_array_equal(weights.rows(f"{NAME}.weight", 0, OUTPUTS), values)


def test_gptq_without_zero_points(tmp_path: Path) -> None:
    changes = {f"{NAME}.qzeros": np.empty((INPUTS // GROUP, 0), np.int32)}
    with open_weights(gptq(tmp_path, zeros(7), **changes)) as weights:
        check(weights, 8)


def test_gptq_that_permutes_though_it_says_it_does_not(tmp_path: Path) -> None:
    order = np.roll(np.arange(INPUTS) // GROUP, 1).astype(np.int32)
    with open_weights(gptq(tmp_path, zeros(7), **{f"{NAME}.g_idx": order})) as weights:
        for _ in range(2):
            with pytest.raises(InputError, match="g_idx permutes the input channels"):
                weights.codes(NAME, 0, 8)


def test_modelopt_awq(tmp_path: Path) -> None:
    signed = packed.random_codes().astype(int) - 8
    nibbles = (signed & 15).astype(np.uint8)
    tensors = {
        f"{NAME}.weight": nibbles[0::2] | (nibbles[1::2] << 4),
        f"{NAME}.weight_scale": packed.random_scales().astype(np.float32),
        f"{NAME}.pre_quant_scale": np.full(INPUTS, 0.5, np.float16),
    }
    sidecar = {"producer": {}, "quantization": {"quant_algo": "W4A16_AWQ", "group_size": GROUP}}
    checkpoint = write_checkpoint(tmp_path, tensors, {}, hf_quant_config__json=json.dumps(sidecar))
    with open_weights(checkpoint) as weights:
        assert weights.linear(NAME) == LinearInfo(NAME, OUTPUTS, INPUTS, 4, GROUP, False, True)
        check(weights, 8)
        assert (weights.vector(f"{NAME}.pre_quant_scale") == 0.5).all()


def test_modelopt_smoothquant(tmp_path: Path) -> None:
    codes = np.random.default_rng(3).integers(-127, 128, (OUTPUTS, INPUTS)).astype(np.int8)
    scale = np.linspace(0.01, 0.02, OUTPUTS).astype(np.float32)
    tensors = {
        f"{NAME}.weight": codes,
        f"{NAME}.weight_scale": scale,
        f"{NAME}.input_scale": np.array(0.25, np.float32),
        f"{NAME}.pre_quant_scale": np.ones(INPUTS, np.float16),
    }
    with open_weights(write_checkpoint(tmp_path, tensors, SQ)) as weights:
        assert weights.linear(NAME) == LinearInfo(NAME, OUTPUTS, INPUTS, 8, None, False, True)
        np.testing.assert_array_equal(weights.codes(NAME, 3, 11), codes[3:11])
        np.testing.assert_array_equal(weights.scales(NAME, 3, 11), scale[3:11, None])
        np.testing.assert_array_equal(weights.rows(f"{NAME}.weight", 3, 11), codes[3:11] * scale[3:11, None])
        assert weights.input_scale(NAME) == 0.25


def test_plain_weights(tmp_path: Path) -> None:
    values = np.arange(32, dtype=np.float32).reshape(4, 8)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    tensors = {"a.weight": bits, "norm.weight": np.ones(8, np.float32), "model.embed_tokens.weight": bits}
    with open_weights(write_checkpoint(tmp_path, tensors, {})) as weights:
        assert list(weights.linears) == ["a"]
        assert weights.linear("a") == LinearInfo("a", 4, 8, None, None, False, False)
        np.testing.assert_array_equal(weights.rows("a.weight", 1, 3), values[1:3])
        assert weights.vector("norm.weight").shape == (8,)
        assert not weights.has("lm_head")
        with pytest.raises(InputError, match="no tensor or linear layer 'lm_head'"):
            weights.linear("lm_head")


def test_an_infinity_is_refused(tmp_path: Path) -> None:
    values = np.zeros((4, 8), np.float32)
    values[2, 3] = np.inf
    with (
        open_weights(write_checkpoint(tmp_path, {"a.weight": values}, {})) as weights,
        pytest.raises(InputError, match=r"the weight at index 19 is inf"),
    ):
        weights.rows("a.weight", 1, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({f"{NAME}.scales": np.ones((3, 8), np.float16)}, "where floats [3, 48] belong"),
        ({f"{NAME}.qzeros": np.ones((2, 6), np.int32)}, "where integers [3, 6] belong"),
        ({"x.stranger": np.ones((2, 6), np.int32)}, "is I32 and belongs to no quantized linear layer"),
        ({f"{NAME}.qweight": np.ones((95, 6), np.int32)}, "which groups of 32 do not divide"),
    ],
)
def test_tensors_that_are_not_those_of_the_layout(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    checkpoint = awq(tmp_path, zeros(8), **changes)
    with pytest.raises(InputError) as caught:
        plan_weights(checkpoint.header)
    assert said in str(caught.value)
    assert caught.value.diagnostics[0].hint
