"""Verdicts on streams: a bundle that is good never fails because the machine was busy."""

from __future__ import annotations

from edgec.trial.triton_client import Streamed
from edgec.trial.triton_streams import Leaver, arrivals, leaving_check, streaming_check


def streamed(*arrivals_s: float) -> Streamed:
    """An answer of one token per arrival."""
    return Streamed(("a",) * len(arrivals_s), arrivals_s, {"completion_tokens": len(arrivals_s)})


BURST = streamed(*(1.0 + i * 1e-5 for i in range(20)))
STEADY = streamed(*(1.0 + i * 0.01 for i in range(20)))


def test_pieces_that_come_together_are_one_arrival() -> None:
    assert (arrivals(BURST), arrivals(STEADY)) == (1, 20)


def test_the_best_try_counts() -> None:
    check = streaming_check([BURST, STEADY], hint="")
    assert (check.passed, check.measured) == (True, 20)


def test_a_short_burst_is_not_judged_and_a_late_one_fails() -> None:
    check = streaming_check([BURST], hint="")
    assert check.passed
    assert "not judged (20 pieces came within 1.00 s)" in check.name
    late = streamed(*(9.0 + i * 1e-5 for i in range(20)))
    assert not streaming_check([late, late], hint="").passed


def test_many_tokens_in_one_piece_fail_however_short() -> None:
    whole = Streamed(("a" * 48, ""), (0.1, 0.1), {"completion_tokens": 48})
    assert not streaming_check([whole], hint="").passed
    assert streaming_check([Streamed(("a", ""), (0.1, 0.1), {"completion_tokens": 1})], hint="").passed


def test_one_client_whose_work_stopped_is_enough() -> None:
    check = leaving_check([Leaver(0.3, 1.0), Leaver(0.1, 0.4)], STEADY, hint="")
    assert (check.passed, check.measured) == (True, 0.4)


def test_leavers_of_short_answers_are_not_judged_and_those_of_long_ones_fail() -> None:
    leavers = [Leaver(0.3, 1.0), Leaver(0.2, 0.95)]
    check = leaving_check(leavers, STEADY, hint="")
    assert check.passed
    assert "not judged" in check.name
    assert not leaving_check(leavers, streamed(0.1, 5.0), hint="").passed
