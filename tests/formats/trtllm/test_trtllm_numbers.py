"""The arithmetic of the formats, against the slow way of doing it."""

from __future__ import annotations

import numpy as np
import oracle
import pytest

from edgec.errors import InputError
from edgec.formats.trtllm.numbers import pack_nibbles, to_half, unpack_nibbles, weight_only


def test_nibbles() -> None:
    codes = np.random.default_rng(0).integers(-8, 8, (6, 10)).astype(np.int8)
    packed = pack_nibbles(codes)
    assert packed.shape == (3, 10)
    for row in range(3):
        for column in range(10):
            low, high = int(codes[2 * row, column]) & 15, int(codes[2 * row + 1, column]) & 15
            assert int(packed[row, column]) & 255 == low | high << 4
    np.testing.assert_array_equal(unpack_nibbles(packed), codes)


@pytest.mark.parametrize(("bits", "algo"), [(8, "W8A16"), (4, "W4A16")])
def test_weight_only_is_what_the_build_computes(bits: int, algo: str) -> None:
    rng = np.random.default_rng(bits)
    weights = (rng.standard_normal((24, 64)) * rng.uniform(0.01, 3, (24, 1))).astype(np.float16)
    weights[3] = 0
    # FP16 cannot hold this scale as it is: the largest weight over 128 is below its normal numbers.
    weights[4] = np.linspace(-1e-5, 1e-5, 64)
    weights[5, :4] = (2.0, -2.0, 1.0, -1.0)  # the largest is cut, its negative is not
    expected = oracle.engine_weight({"x.weight": weights}, "x", algo)
    np.testing.assert_array_equal(weight_only(weights, bits), expected.astype(np.float16))


def test_halves_of_a_step_are_rounded_away_from_zero() -> None:
    # The scale is 1: the largest magnitude is 8.
    row = np.array([[-8, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49]], np.float16)
    np.testing.assert_array_equal(weight_only(row, 4)[0], [-8, 1, 2, 3, -1, -2, -3, 0])


def test_the_range_of_fp16() -> None:
    values = np.array([65504, -65504, 1e-8], np.float32)
    np.testing.assert_array_equal(to_half(values, "x"), values.astype(np.float16))
    for wrong in (65520.0, -70000.0):
        with pytest.raises(InputError, match="does not fit FP16"):
            to_half(np.array([wrong], np.float32), "x")
