"""An engine's answers against the recorded ones: agreement, ties, ends, texts, log probabilities."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edgec.documents.canonical import canonical_json
from edgec.errors import InputError
from edgec.prove.device_reference import DeviceReference, EngineAnswer, Position, Prompt, read_device_reference
from edgec.prove.model import Check

END = 99


def position(token: int, *others: tuple[int, float], text: str = "", ties: tuple[str, ...] = ()) -> Position:
    """`token` at -0.5 nats, `others` at their distance from it."""
    top = ((token, -0.5), *((i, -0.5 - gap) for i, gap in others))
    return Position(top=top, text=text, tie_texts=ties)


def reference(*prompts: tuple[Position, ...], **changes: Any) -> DeviceReference:
    entries = tuple(
        Prompt(name=f"prompt {n}", text="x", token_ids=(1, 2), adds_special=True, positions=positions)
        for n, positions in enumerate(prompts, 1)
    )
    return DeviceReference(**{
        "schema": "edgec/device-reference/v1", "artifact": "llm", "framework": "torch 2.13.0", "new_tokens": 4,
        "tokenizer_digest": "sha256:00", "new_tokens_why": "4 in a test", "end_token_ids": (END,),
        "tie_margin_nats": 0.1, "min_agreement": 0.85, "max_logprob_error": 0.1, "prompts": entries, **changes,
    })  # fmt: skip


FOUR = (
    position(10, (11, 2.0), text="The"),
    position(20, (21, 0.05), (22, 0.3), text="The sea", ties=("The lake",)),
    position(30, (31, 1.0), text="The sea is"),
    position(40, (41, 1.0), text="The sea is blue"),
)


def ids(*tokens: int, **more: Any) -> EngineAnswer:
    return EngineAnswer(token_ids=tokens, **more)


def check(checks: tuple[Check, ...], name: str) -> Check:
    return next(c for c in checks if c.name == f"device: {name}")


def agreement(answer: EngineAnswer, positions: tuple[Position, ...] = FOUR) -> Check:
    return check(reference(positions).compare([answer]), "greedy tokens")


def test_equal_answers_pass() -> None:
    checks = reference(FOUR, FOUR).compare([ids(10, 20, 30, 40)] * 2)
    assert [c.passed for c in checks] == [True, True]
    assert check(checks, "greedy tokens").measured == 100
    assert check(checks, "greedy tokens").unit.startswith("% of 8 tokens")


@pytest.mark.parametrize(
    ("tokens", "share", "detail"),
    [
        ((10, 20, 30, 41), 3 / 4, "prompt 1: token 3 is 41, 1 nats less likely than 40"),
        ((11, 20, 30, 40), 0, "prompt 1: token 0 is 11, 2 nats less likely than 10"),
        ((77, 20, 30, 40), 0, "prompt 1: token 0 is 77, far less likely than 10"),
        ((10, 22, 30, 40), 1 / 4, "prompt 1: token 1 is 22, 0.3 nats less likely than 20"),
        ((10, 20, 30), 3 / 4, "prompt 1: no token 3"),
        ((10, 20, 30, 40, 50, 60), 1, ""),
    ],
)
def test_comparison_ends_at_the_first_difference(tokens: tuple[int, ...], share: float, detail: str) -> None:
    found = agreement(ids(*tokens))
    assert (found.measured, found.detail) == (100 * share, detail)
    assert found.passed == (share >= 0.85)


def test_a_tie_agrees_and_what_follows_it_is_not_compared() -> None:
    found = agreement(ids(10, 21, 77, 77))
    assert found.passed
    assert found.unit.startswith("% of 2 tokens")


def test_one_wrong_prompt_of_many_is_borne_and_two_are_not() -> None:
    document = reference(*[FOUR] * 9)
    right, wrong = ids(10, 20, 30, 40), ids(77, 20, 30, 40)
    assert check(document.compare([right] * 8 + [wrong]), "greedy tokens").passed
    assert not check(document.compare([right] * 7 + [wrong] * 2), "greedy tokens").passed
    # A fault that shows from the second token on, as one in the KV cache does.
    late = ids(10, 77, 77, 77)
    assert not check(document.compare([late] * 9), "greedy tokens").passed


def test_an_engine_may_leave_out_the_end() -> None:
    ends = (FOUR[0], position(END, (20, 3.0), text="The"))
    assert agreement(ids(10), ends).measured == 100
    assert agreement(ids(10, END), ends).measured == 100
    assert agreement(ids(10, 20), ends).measured == 50
    only_end = (position(END, (20, 3.0), text=""),)
    checks = reference(only_end).compare([ids()])
    assert [c.passed for c in checks] == [True, True]


def test_no_answer_fails() -> None:
    checks = reference(FOUR, FOUR).compare([ids(10, 20, 30, 40), ids()])
    assert not check(checks, "prompts answered").passed
    assert check(checks, "prompts answered").detail == "without a token: prompt 2"


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("The sea is blue", 1),
        ("  The sea is blue and wide", 1),
        ("The sea is", 3 / 4),
        ("The lake was cold", 1),
        ("The river", 1 / 4),
        ("", 0),
    ],
)
def test_a_runtime_that_tells_only_text_is_compared_by_it(text: str, share: float) -> None:
    assert agreement(EngineAnswer(text=text)).measured == 100 * share


def test_a_character_cut_in_its_bytes_is_no_difference() -> None:
    cut = (position(1, text="a\N{REPLACEMENT CHARACTER}"), position(2, text="a\N{SNOWMAN}"))
    assert agreement(EngineAnswer(text="a\N{SNOWMAN}"), cut).measured == 100
    assert agreement(EngineAnswer(text="a\N{COMET}"), cut).measured == 50


@pytest.mark.parametrize(("shift", "passes"), [(0.05, True), (-0.2, False), (math.nan, False), (math.inf, False)])
def test_log_probabilities_are_held_to_the_reference(shift: float, passes: bool) -> None:
    told = tuple({token: value + shift for token, value in p.top} for p in FOUR)
    checks = reference(FOUR).compare([ids(10, 20, 30, 40, log_probabilities=told)])
    found = check(checks, "log probabilities")
    assert found.passed is passes
    if math.isfinite(shift):
        assert found.measured == pytest.approx(abs(shift))
        assert found.detail == "mean distance of 9 likely tokens"
    # It stands in reports, which are JSON.
    canonical_json(found.model_dump(mode="json"))


def test_log_probabilities_after_the_first_difference_do_not_count() -> None:
    told = tuple({token: value - (5.0 if n > 1 else 0.0) for token, value in p.top} for n, p in enumerate(FOUR))
    checks = reference(FOUR).compare([ids(10, 22, 30, 40, log_probabilities=told)])
    assert check(checks, "log probabilities").measured == 0


def test_log_probabilities_of_other_tokens_show_nothing_and_fail() -> None:
    checks = reference(FOUR).compare([ids(10, 20, 30, 40, log_probabilities=({5: -1.0},))])
    assert not check(checks, "log probabilities").passed


@pytest.mark.parametrize(
    ("listed", "most"),
    [
        # The engine is sure of another token: nothing is left for those of the reference.
        ({5: 0.0}, -20.0),
        # At least this far: what it does not list is no likelier than what it lists.
        ({5: -0.1, 6: -3.0}, math.log(1 - math.exp(-0.1) - math.exp(-3.0))),
    ],
)
def test_likely_tokens_that_the_engine_does_not_list_are_missed(listed: dict[int, float], most: float) -> None:
    one = (position(10, (11, 1.0)),)
    checks = reference(one).compare([ids(10, log_probabilities=(listed,))])
    found = check(checks, "log probabilities")
    assert found.measured == pytest.approx(sum(value - most for _, value in one[0].top) / 2)
    assert not found.passed


def test_a_token_without_log_probabilities_fails() -> None:
    told = tuple(dict(p.top) for p in FOUR[:3])
    found = check(reference(FOUR).compare([ids(10, 20, 30, 40, log_probabilities=told)]), "log probabilities")
    assert (found.passed, found.detail) == (False, "mean distance of 7 likely tokens; 1 tokens came without any")


def test_log_probabilities_that_are_no_numbers_fail() -> None:
    told = tuple(dict.fromkeys(dict(p.top), None) for p in FOUR)
    found = check(reference(FOUR).compare([ids(10, 20, 30, 40, log_probabilities=told)]), "log probabilities")
    assert (found.passed, found.measured) == (False, 1e9)
    assert "9 are not finite numbers" in found.detail


def test_every_prompt_needs_its_answer() -> None:
    with pytest.raises(ValueError, match="1 answers to 2 prompts"):
        reference(FOUR, FOUR).compare([ids(10)])


def test_positions_go_from_the_most_likely_down() -> None:
    with pytest.raises(ValidationError, match="most likely token down"):
        Position(top=((1, -2.0), (2, -1.0)))


def test_document_comes_back_from_its_file(tmp_path: Path) -> None:
    document = reference(FOUR)
    path = tmp_path / "reference.json"
    path.write_bytes(canonical_json(document.model_dump(mode="json", by_alias=True)))
    assert read_device_reference(path) == document


@pytest.mark.parametrize("content", ["{}", "[", '{"schema": "edgec/device-reference/v2"}'])
def test_another_document_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(content)
    with pytest.raises(InputError, match=str(path)) as refused:
        read_device_reference(path)
    assert "edgec/device-reference/v1" in (refused.value.diagnostics[0].hint or "")


def test_missing_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_device_reference(tmp_path / "none.json")


def test_the_device_needs_nothing_that_computes() -> None:
    code = "import sys, edgec.prove.device_reference; print({'numpy', 'torch', 'tokenizers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
