"""Every pre-tokenizer name edgec claims: recognised from the structure, and ids equal on the real runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizer_models import DOCS_LLAMA, byte_bpe, proven, split
from tokenizers import normalizers
from tokenizers import pre_tokenizers as pt

from edgec.formats.gguf.vocabulary.structures import BYTES, GPT2, PUNCTUATION_RUNS, RUNTIME_NAMES, STRUCTURES, Structure


def _step(step: str, *, before_bytes: str | None) -> list[pt.PreTokenizer]:
    if step == PUNCTUATION_RUNS:
        return [pt.Punctuation("contiguous")]
    if step == BYTES:
        return [pt.ByteLevel(add_prefix_space=False, use_regex=before_bytes == GPT2)]
    if step == GPT2:
        return []
    return [pt.Digits(individual_digits=True)] if step == r"\p{N}" else [split(step)]


def _pre_tokenizer(structure: Structure) -> pt.Sequence:
    steps: list[pt.PreTokenizer] = []
    for before, step in zip((None, *structure.steps), structure.steps, strict=False):
        steps += _step(step, before_bytes=before)
    return pt.Sequence(steps)


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: s.name)
def test_ids_of_every_structure_are_equal_on_the_runtime(structure: Structure, tmp_path: Path) -> None:
    tokenizer = byte_bpe(_pre_tokenizer(structure), ignore_merges=structure.ignore_merges)
    vocabulary, comparison = proven({"tokenizer.json": tokenizer}, tmp_path / "v.gguf", spare_rows=3)
    assert vocabulary.pre == structure.name
    assert structure.name in RUNTIME_NAMES
    assert [d.render() for d in comparison.unexplained] == []
    if structure.runtime is None:
        assert comparison.equal == comparison.compared
    else:
        # llama.cpp's own pattern is an approximation: the proof says so, and never calls these ids equal.
        assert {d.cause for d in comparison.differences} == {"words split by ASCII case"}


def test_the_test_models_own_tokenizer(tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in DOCS_LLAMA.glob("*.json")}
    vocabulary, comparison = proven(files, tmp_path / "v.gguf")
    assert vocabulary.pre == "qwen2"
    assert vocabulary.special == {"eos": 4095, "pad": 4093, "bos": 4093}
    assert comparison.unexplained == ()
    assert {d.cause for d in comparison.differences} == {"no Unicode normalisation"}
    assert {d.piece.name.split("/")[0] for d in comparison.differences} == {"marks"}
    assert "NFC" in vocabulary.notes[0]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: pt.ByteLevel(add_prefix_space=False, use_regex=True),
        lambda: pt.Sequence([pt.Digits(individual_digits=True), pt.ByteLevel(add_prefix_space=False)]),
    ],
)
def test_a_wrong_override_is_seen_in_the_proof(wrong: Callable[[], pt.PreTokenizer], tmp_path: Path) -> None:
    tokenizer = byte_bpe(wrong())
    _, comparison = proven({"tokenizer.json": tokenizer}, tmp_path / "v.gguf", pre="qwen2")
    assert comparison.unexplained
    assert not comparison.check().passed


def test_two_known_limits_together_are_found(tmp_path: Path) -> None:
    tekken = next(s for s in STRUCTURES if s.name == "tekken")
    tokenizer = byte_bpe(_pre_tokenizer(tekken), ignore_merges=True, normalizer=normalizers.NFC())
    _, comparison = proven({"tokenizer.json": tokenizer}, tmp_path / "v.gguf")
    assert [d.render() for d in comparison.unexplained] == []
    assert "no Unicode normalisation and words split by ASCII case" in {d.cause for d in comparison.differences}
