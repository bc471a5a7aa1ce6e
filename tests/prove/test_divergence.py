"""The arithmetic against closed forms, and what it does with logits that are not finite."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgec.prove.divergence import DivergenceMeter, unigram_perplexity, window_starts


def test_divergence_of_two_known_distributions() -> None:
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.5, 0.25]])
    meter = DivergenceMeter()
    # A shift of all logits, however large, changes nothing.
    meter.add((np.log(p) + 1e4), np.log(q) - 1e4, [0])
    found = meter.result()
    assert found.mean_kl == pytest.approx(0.5 * math.log(2) - 0.25 * math.log(2), rel=1e-9)
    assert found.top1 == 0
    assert found.perplexity == pytest.approx(4, rel=1e-9)
    assert found.reference_perplexity == pytest.approx(2, rel=1e-9)
    assert found.perplexity_ratio == pytest.approx(2, rel=1e-9)


def test_pieces_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((50, 300)).astype(np.float32) for _ in range(2))
    targets = rng.integers(0, 300, 50).tolist()
    whole, pieces = DivergenceMeter(), DivergenceMeter()
    whole.add(a, b, targets)
    for i in range(0, 50, 7):
        pieces.add(a[i : i + 7], b[i : i + 7], targets[i : i + 7])
    assert pieces.result().mean_kl == pytest.approx(whole.result().mean_kl, rel=1e-12)
    assert pieces.result().top1 == whole.result().top1
    assert pieces.result().tokens == 50


def test_vocabulary_of_many_blocks() -> None:
    """A vocabulary so large that one block holds few rows."""
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((40, 200_000)).astype(np.float32)
    meter = DivergenceMeter()
    meter.add(logits, logits, [0] * 40)
    assert (meter.result().tokens, meter.result().mean_kl, meter.result().top1) == (40, 0.0, 1.0)


def test_tiny_divergence_is_not_lost_in_rounding() -> None:
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((8, 1000))
    nudge = 1e-7 * rng.standard_normal((8, 1000))
    meter = DivergenceMeter()
    meter.add(logits, logits + nudge, [0] * 8)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    # Second order: half the variance of the nudge under p.
    expected = float((((p * nudge**2).sum(axis=1) - (p * nudge).sum(axis=1) ** 2) / 2).mean())
    assert meter.result().mean_kl == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_counted_and_left_out(bad: float) -> None:
    logits = np.zeros((3, 4), dtype=np.float32)
    broken = logits.copy()
    broken[1, 2] = bad
    meter = DivergenceMeter()
    meter.add(logits, broken, [0, 1, 2])
    assert (meter.result().tokens, meter.result().broken, meter.result().mean_kl) == (2, 1, 0.0)


def test_nothing_finite_gives_no_averages() -> None:
    meter = DivergenceMeter()
    meter.add(np.zeros((2, 4)), np.full((2, 4), np.nan), [0, 0])
    assert (meter.result().tokens, meter.result().broken) == (0, 2)
    assert math.isnan(meter.result().mean_kl)


def test_certain_and_wrong_stays_a_number() -> None:
    meter = DivergenceMeter()
    meter.add(np.array([[1e5, 0.0]]), np.array([[1e5, 0.0]]), [1])
    assert math.isfinite(meter.result().perplexity)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="for 2 tokens"):
        DivergenceMeter().add(np.zeros((2, 4)), np.zeros((2, 5)), [0, 0])


def test_unigram_perplexity_of_repetition_and_of_chance() -> None:
    # Two tokens in turn: each has been seen in just under half of the rest.
    assert unigram_perplexity([0, 1] * 500, 1000) == pytest.approx(2 / 0.9, rel=0.01)
    # Every token once: nothing to learn, only the evenly spread tenth is left.
    assert unigram_perplexity(range(100), 1000) == pytest.approx(10_000, rel=1e-9)


@pytest.mark.parametrize(
    ("tokens", "size", "windows", "starts"),
    [
        (100, 10, 3, [0, 45, 90]),
        (30, 10, 16, [0, 10, 20]),
        (10, 10, 4, [0]),
        (9, 10, 4, []),
        (1000, 10, 1, [0]),
    ],
)
def test_windows_lie_evenly_without_overlap(tokens: int, size: int, windows: int, starts: list[int]) -> None:
    assert window_starts(tokens, size, windows) == starts
