"""Every scheme has thresholds in a sensible order, and the recipe's win."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest

from edgec.prove.thresholds import Thresholds, defaults, demanded, max_tensor_error
from edgec.recipe.model import Prove, Scheme, TensorType
from edgec.recipe.onnx import OnnxScheme


def test_every_scheme_and_tensor_type_has_limits() -> None:
    for scheme in get_args(Scheme):
        limits = defaults(scheme)
        assert 0 < limits.max_kl < 1
        assert 0.5 <= limits.min_top1 < 1
        assert limits.max_perplexity_ratio > 1
        assert 0.8 <= limits.min_cosine < limits.min_mean_cosine < 1
    assert all(0 < max_tensor_error(t) < 1 for t in (*get_args(TensorType), "i8", "i4"))


def test_every_onnx_scheme_has_limits_of_its_own_that_the_recipe_replaces() -> None:
    for scheme in get_args(OnnxScheme):
        limits = defaults(scheme)
        assert 0.8 < limits.min_cosine < limits.min_mean_cosine < 1
        assert demanded(scheme, Prove(min_cosine=0.5)).min_mean_cosine == 0.75
    assert defaults("int8_fine").min_mean_cosine == 0.999
    assert defaults("auto").min_mean_cosine == defaults("int8").min_mean_cosine == 0.99


@pytest.mark.parametrize("unknown", ["q4", "Q4_K_M"])
def test_unknown_scheme_has_none(unknown: str) -> None:
    with pytest.raises(KeyError):
        defaults(unknown)


def test_fewer_bits_are_never_held_to_more() -> None:
    order = ["f16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_0", "q4_k_m", "q4_k_s", "q4_0", "q3_k_m", "q2_k"]
    for finer, coarser in pairwise(order):
        a, b = defaults(finer), defaults(coarser)
        assert a.max_kl < b.max_kl, (finer, coarser)
        assert a.min_top1 > b.min_top1
        assert a.max_perplexity_ratio < b.max_perplexity_ratio
        assert a.min_cosine >= b.min_cosine


def test_engines_of_fewer_bits_are_never_held_to_more() -> None:
    order = ["fp16", "int8_wo", "int8_sq", "int4_awq", "int4_rtn", "int4_wo"]
    for finer, coarser in pairwise(order):
        a, b = defaults(finer), defaults(coarser)
        assert a.max_kl < b.max_kl, (finer, coarser)
        assert a.min_top1 > b.min_top1
        assert a.max_perplexity_ratio < b.max_perplexity_ratio
    assert defaults("int4_gptq") == defaults("int4_awq")
    assert defaults("fp16") == defaults("f16")


def test_the_recipe_wins_where_it_says_something() -> None:
    assert demanded("q8_0", Prove()) == defaults("q8_0")
    changed = demanded("q8_0", Prove(max_kl=0.5, min_top1=0.0, max_perplexity_ratio=3, min_cosine=0.5))
    assert changed == Thresholds(0.5, 0.0, 3, 0.5)
    assert changed.min_mean_cosine == 0.75
