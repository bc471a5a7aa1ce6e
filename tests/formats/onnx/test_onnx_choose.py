"""Which of several quantized candidates is kept, and what is said when none is good enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgec.errors import ProofError
from edgec.formats.candidates import Candidate, Demand
from edgec.formats.onnx.run import choose

DEMAND = Demand(mean_cosine=0.99, min_cosine=0.97)
LOG = Path("onnx-quantize.log")
# all-MiniLM-L6-v2, as measured (docs/onnx.md).
TENSOR = Candidate("dynamic-tensor", "", 22_845_351, 0.9613, 0.9009, 0.4)
CHANNEL = Candidate("dynamic", "", 23_076_134, 0.9931, 0.9896, 0.4)
WEIGHTS = Candidate("weights", "", 22_979_728, 0.9994, 0.9982, 0.6)
STATIC = Candidate("static-all", "", 22_962_535, 0.7848, 0.4038, 0.4)
KEEP = Candidate("dynamic-keep", "", 33_673_400, 0.9965, 0.9945, 0.8)


def test_the_smallest_that_is_good_enough_is_kept() -> None:
    assert choose([TENSOR, STATIC, CHANNEL, KEEP], DEMAND, LOG) is CHANNEL
    assert choose([STATIC, KEEP], DEMAND, LOG) is KEEP


def test_of_equal_sizes_the_nearest_to_the_source_is_kept() -> None:
    assert choose([CHANNEL, WEIGHTS, KEEP], DEMAND, LOG) is WEIGHTS
    much_smaller = Candidate("dynamic", "", 22_000_000, 0.9931, 0.9896, 0.4)
    assert choose([much_smaller, WEIGHTS], DEMAND, LOG) is much_smaller


def test_one_bad_text_is_enough_to_reject() -> None:
    uneven = Candidate("static-u16", "", 20_000_000, 0.999, 0.96, 0.7)
    assert choose([uneven, WEIGHTS], DEMAND, LOG) is WEIGHTS


def test_what_failed_or_is_not_a_number_is_never_kept() -> None:
    failed = Candidate("static-u8", "", failed="RuntimeError: no kernel")
    strange = Candidate("dynamic-7bit", "", 1, float("nan"), float("nan"), 0.1)
    assert choose([failed, strange, WEIGHTS], DEMAND, LOG) is WEIGHTS


def test_a_miss_names_every_candidate_with_its_numbers() -> None:
    failed = Candidate("static-u8", "", failed="RuntimeError: no kernel")
    with pytest.raises(ProofError) as caught:
        choose([TENSOR, STATIC, failed], DEMAND, LOG)
    (found,) = caught.value.diagnostics
    assert "no route of 3 reaches a mean cosine of 0.99 and a smallest of 0.97" in found.message
    assert "static-all 23.0 MB, mean 0.7848, smallest 0.4038" in found.message
    assert "static-u8 failed (RuntimeError: no kernel)" in found.message
    assert "lower prove.min_cosine" in (found.hint or "")


# The same size, and nearer by far than is asked for.
EVEN = Candidate("dynamic-even", "", 23_150_599, 0.9991, 0.9974, 0.5)


def test_integer_products_win_where_they_have_much_to_spare() -> None:
    assert choose([CHANNEL, EVEN, WEIGHTS, KEEP], DEMAND, LOG) is EVEN
    # With a quarter of the error that is allowed, or less, nearness counts no more.
    strict = Demand(mean_cosine=0.999, min_cosine=0.99)
    assert choose([EVEN, WEIGHTS], strict, LOG) is WEIGHTS


def test_rerankers_are_chosen_by_the_errors_of_their_scores() -> None:
    demand = Demand(mean_cosine=0.99, min_cosine=0.97, score_error=0.28)
    coarse, near, far = (
        Candidate(name, "", size, score_error=error)
        for name, size, error in (("int4", 400, 0.72), ("dynamic-tensor", 500, 0.16), ("weights", 504, 0.06))
    )
    assert choose([coarse, near, far], demand, LOG) is far
    assert choose([coarse, near], demand, LOG) is near
    with pytest.raises(ProofError, match=r"a score error of 0.28 of the spread .* int4 0.0 MB, score error 0.7200"):
        choose([coarse], demand, LOG)
