"""Weights that are not numbers are found wherever they stand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgec.errors import InputError
from edgec.source.finite import check_finite


@given(st.integers(1, 300), st.data())
def test_finds_the_first_one(size: int, data: st.DataObject) -> None:
    values = np.linspace(-3e38, 3e38, size, dtype=np.float32)
    check_finite(values, tensor="w", file="m", first_index=0)
    places = data.draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True))
    for place in places:
        values[place] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with pytest.raises(InputError) as caught:
        check_finite(values, tensor="w", file="m.safetensors", first_index=1_000_000)
    at, value = min(places), float(values[min(places)])
    assert f"m.safetensors: tensor 'w': error: the weight at index {1_000_000 + at} is {value}" in str(caught.value)


def test_rows_and_empty_slabs() -> None:
    check_finite(np.zeros((0, 4), np.float32), tensor="w", file="m", first_index=0)
    rows = np.ones((3, 4), np.float32)
    rows[2, 1] = np.nan
    with pytest.raises(InputError, match="index 9 is nan"):
        check_finite(rows, tensor="w", file="m", first_index=0)


def test_extremes_are_numbers() -> None:
    limits = np.finfo(np.float32)
    check_finite(np.array([limits.max, limits.min, 1e-45, -0.0], np.float32), tensor="w", file="m", first_index=0)
