"""The token comparison finds every kind of wrong id, names known limits and says what differs so that people see it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from edgec.errors import InputError
from edgec.formats.gguf.vocabulary.limits import known_limits
from edgec.prove.corpus import corpus
from edgec.prove.tokens import compare_tokens

TOKENIZER = (Path(__file__).parents[2] / "models" / "docs-llama" / "tokenizer.json").read_bytes()
NFC = "no Unicode normalisation"


def _runtime(*, special: bool = True, normalise: bool = True) -> Callable[[str], list[int]]:
    """`tokenizers` itself as the runtime, with or without the NFC step of the test model's tokenizer."""
    document = json.loads(TOKENIZER)
    if not normalise:
        document["normalizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(document))
    tokenizer.encode_special_tokens = not special
    return lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids)


def test_an_equal_runtime_passes() -> None:
    comparison = compare_tokens(TOKENIZER, _runtime(), tokenize_text=_runtime(special=False))
    assert comparison.equal == comparison.compared > 250
    assert comparison.check().passed
    assert comparison.not_verified() == ()


def test_one_wrong_id_fails_and_is_shown() -> None:
    equal = _runtime()

    def wrong(text: str) -> list[int]:
        ids = equal(text)
        return [*ids[:3], 77, *ids[4:]] if text.startswith("SELECT") else ids

    check = compare_tokens(TOKENIZER, wrong, limits=known_limits(TOKENIZER)).check()
    assert not check.passed
    assert (check.measured, check.threshold, check.relation) == (1, 0, "==")
    assert check.detail.startswith(
        "code/sql (special tokens parsed), token 3: 'SELECT a.id, COUNT(*) FROM t1 AS a LEFT"
    )
    lines = check.detail.split("\n")
    assert lines[1].startswith("  expected ... ")
    assert lines[2].startswith("  found    ... ")
    assert "77:'n'" in lines[2]


@pytest.mark.parametrize("change", [lambda ids: ids[:-1], lambda ids: [*ids, 5], lambda ids: ids[::-1], lambda ids: []])
def test_missing_added_and_reordered_ids_fail(change: Callable[[list[int]], list[int]]) -> None:
    equal = _runtime()
    assert not compare_tokens(TOKENIZER, lambda text: change(equal(text))).check().passed


def test_special_tokens_taken_for_text_fail() -> None:
    comparison = compare_tokens(TOKENIZER, _runtime(special=False))
    assert {d.piece.name.split("/")[0] for d in comparison.unexplained} == {"special"}


def test_a_known_limit_passes_under_its_name() -> None:
    comparison = compare_tokens(TOKENIZER, _runtime(normalise=False), limits=known_limits(TOKENIZER))
    assert comparison.check().passed
    assert {d.cause for d in comparison.differences} == {NFC}
    assert all(not unicodedata.is_normalized("NFC", d.piece.text) for d in comparison.differences)
    (entry,) = comparison.not_verified()
    assert entry.what == f"token ids of {len(comparison.differences)} of {comparison.compared} texts: {NFC}"
    assert "composed text is not affected" in entry.why
    assert "marks/" in entry.example


def test_a_limit_does_not_excuse_other_differences_in_the_same_text() -> None:
    unnormalised = _runtime(normalise=False)

    def wrong(text: str) -> list[int]:
        return unnormalised(text) + ([1] if "\u0301" in text else [])

    comparison = compare_tokens(TOKENIZER, wrong, limits=known_limits(TOKENIZER))
    assert comparison.unexplained
    assert not comparison.check().passed


def test_only_the_first_differences_are_shown() -> None:
    check = compare_tokens(TOKENIZER, lambda text: [1, 2, 3]).check()
    assert check.measured > 100
    assert check.detail.count("  expected") == 5
    assert check.detail.endswith("more")


def test_an_unreadable_tokenizer_is_an_input_error() -> None:
    with pytest.raises(InputError, match="cannot read it"):
        compare_tokens(b'{"version": "1.0"}', lambda text: [])


def test_the_corpus_is_fixed_and_covers_what_it_says() -> None:
    pieces = corpus(["<a>", "<b>"])
    names = [p.name for p in pieces]
    assert pieces == corpus(["<a>", "<b>"])
    assert len(set(names)) == len(names)
    assert len({p.text for p in pieces}) == len(pieces)
    text = "".join(p.text for p in pieces)
    scripts = {unicodedata.name(c, "").split(" ")[0] for c in text if unicodedata.category(c) == "Lo"}
    assert len(scripts) > 25
    for needed in ("\r\n", "\t\t", "\u00a0", "\u200d", "\u0301", "\U0001f1e9\U0001f1ea", "\U0001f3fd", "'RE", "'ll"):
        assert needed in text
    assert next(n for n in names if n.startswith("special/")) == "special/<a> alone"
    assert max(len(p.text) for p in pieces) > 250


def test_many_special_tokens_are_all_tried() -> None:
    tokens = [f"<{i}>" for i in range(100)]
    text = "".join(p.text for p in corpus(tokens) if p.name.startswith("special/tokens"))
    assert all(token in text for token in tokens)
