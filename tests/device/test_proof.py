"""How an engine's answers become checks: the reference's own comparison, and what was not given is told."""

from __future__ import annotations

import pytest
from device_case import WEIGHTS, reference
from recorded_builder import continuation

from edgec.device.proof import RunnerAnswer, compare
from edgec.errors import ProofError
from edgec.prove.device_reference import EngineAnswer


def answers(weights: bytes = WEIGHTS, *, logits: bool = True) -> RunnerAnswer:
    made = []
    for prompt in reference(WEIGHTS).prompts:
        found = continuation(weights, list(prompt.token_ids), 5)
        tokens = tuple(next(iter(d)) for d in found)
        made.append(EngineAnswer(token_ids=tokens, log_probabilities=tuple(found) if logits else None))
    return RunnerAnswer(runtime="a toy", answers=tuple(made), prompt_tokens=(3, 3, 3))


def test_the_same_answers_pass() -> None:
    proof = compare(reference(WEIGHTS), answers(), logits=True)
    proof.require_passed()
    assert [check.name for check in proof.checks] == [
        "device: prompts read as recorded",
        "device: prompts answered",
        "device: greedy tokens",
        "device: log probabilities",
    ]
    assert proof.not_verified == ()


def test_other_answers_fail_with_all_checks_in_the_error() -> None:
    proof = compare(reference(WEIGHTS), answers(WEIGHTS[1:]), logits=True)
    with pytest.raises(ProofError) as caught:
        proof.require_passed()
    assert "device: greedy tokens" in str(caught.value)
    assert len(caught.value.data["checks"]) == 4


def test_missing_logits_are_not_verified() -> None:
    proof = compare(reference(WEIGHTS), answers(logits=False), logits=False)
    assert [(n.what, n.why) for n in proof.not_verified] == [("logits", "the runtime gave no log probabilities")]


def test_an_engine_that_is_built_to_give_logits_must_give_them() -> None:
    none = answers(logits=False)
    empty = none.model_copy(
        update={"answers": tuple(a.model_copy(update={"log_probabilities": ()}) for a in none.answers)}
    )
    for answer in (none, empty):
        with pytest.raises(ProofError, match="answers with log probabilities: 0 prompts"):
            compare(reference(WEIGHTS), answer, logits=True).require_passed()


@pytest.mark.parametrize("told", [(), (3, 3)])
def test_a_prompt_of_which_no_length_is_told_is_not_read_as_recorded(told: tuple[int, ...]) -> None:
    other = answers().model_copy(update={"prompt_tokens": told})
    with pytest.raises(ProofError, match="p2: not told instead of 3"):
        compare(reference(WEIGHTS), other, logits=True).require_passed()


def test_garbage_after_four_of_nine_prompts_is_refused() -> None:
    document = reference(WEIGHTS, prompts=9)
    made = [
        EngineAnswer(token_ids=(7,) * 5, log_probabilities=({7: -0.001},) * 5)
        if index < 4
        else EngineAnswer(
            token_ids=tuple(p.top[0][0] for p in prompt.positions),
            log_probabilities=tuple(dict(p.top) for p in prompt.positions),
        )
        for index, prompt in enumerate(document.prompts)
    ]
    proof = compare(document, RunnerAnswer(runtime="a toy", answers=tuple(made)), logits=True)
    assert {check.name for check in proof.checks if not check.passed} == {
        "device: greedy tokens",
        "device: log probabilities",
    }


def test_another_number_of_prompt_tokens_is_a_failure() -> None:
    other = answers().model_copy(update={"prompt_tokens": (3, 4, 3)})
    with pytest.raises(ProofError, match="p1: 4 instead of 3"):
        compare(reference(WEIGHTS), other, logits=True).require_passed()


def test_too_few_answers_are_no_proof() -> None:
    short = answers().model_copy(update={"answers": answers().answers[:2]})
    with pytest.raises(ProofError, match="answered 2 of 3 prompts"):
        compare(reference(WEIGHTS), short, logits=True)
