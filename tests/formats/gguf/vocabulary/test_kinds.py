"""SentencePiece BPE, unigram and WordPiece vocabularies on the real runtime, from every file they come in."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizer_models import as_bytes, bert_vocab, byte_bpe, header, proven, sentencepiece_file, value
from tokenizers import pre_tokenizers as pt

from edgec.errors import InputError
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.formats.gguf.vocabulary.equivalent import oracle_json
from edgec.formats.gguf.vocabulary.sentencepiece import parse_sentencepiece


def _json_of(model: bytes) -> dict[str, Any]:
    tokenizer = oracle_json({"tokenizer.model": model})
    assert tokenizer is not None
    return dict(json.loads(tokenizer))


def _metaspace(model: bytes, scheme: str) -> dict[str, Any]:
    spaces = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": False}
    return {**_json_of(model), "normalizer": None, "pre_tokenizer": spaces}


def test_llama_2_from_tokenizer_model_alone(tmp_path: Path) -> None:
    vocabulary, comparison = proven({"tokenizer.model": sentencepiece_file()}, tmp_path / "v.gguf")
    assert vocabulary.model == "llama"
    assert (comparison.equal, comparison.differences) == (comparison.compared, ())


def test_scores_made_from_merge_ranks_are_those_of_the_model_file(tmp_path: Path) -> None:
    model = sentencepiece_file()
    vocabulary, comparison = proven({"tokenizer.json": _json_of(model)}, tmp_path / "v.gguf")
    assert comparison.equal == comparison.compared
    scores, pieces = value(vocabulary, "scores"), parse_sentencepiece(model, "m").pieces
    merged = [i for i, piece in enumerate(pieces) if piece.type == 1 and len(piece.text) > 1]
    assert len(merged) > 500
    assert [scores[i] for i in merged] == [pieces[i].score for i in merged]


@pytest.mark.parametrize(("scheme", "causes"), [("never", set()), ("first", {"space before the text"})])
def test_metaspace(scheme: str, causes: set[str], tmp_path: Path) -> None:
    vocabulary, comparison = proven({"tokenizer.json": _metaspace(sentencepiece_file(), scheme)}, tmp_path / "v.gguf")
    assert [d.render() for d in comparison.unexplained] == []
    assert {d.cause for d in comparison.differences} == causes
    assert value(vocabulary, "add_space_prefix") is (None if scheme == "first" else False)


@pytest.mark.parametrize("with_model", [True, False])
def test_gemma_has_no_space_before_the_text_and_bos_before_eos(with_model: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3}
    model = sentencepiece_file(prefix=False, **options)
    at_spaces = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    files: dict[str, Any] = {"tokenizer.json": {**_json_of(model), "pre_tokenizer": at_spaces}}
    if with_model:
        files["tokenizer.model"] = model
    vocabulary, comparison = proven(files, tmp_path / "v.gguf", arch="gemma3")
    assert comparison.equal == comparison.compared
    assert value(vocabulary, "add_space_prefix") is False
    assert vocabulary.special["bos"] == 2


def test_added_tokens_of_a_sentencepiece_model(tmp_path: Path) -> None:
    model = sentencepiece_file()
    document = _json_of(model)
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    document["added_tokens"] += [
        {"id": 2000, "content": "<|user|>", "special": True, **plain},
        {"id": 2001, "content": "[tool]", "special": False, **plain},
    ]
    files = {"tokenizer.json": document, "tokenizer.model": model}
    vocabulary, comparison = proven(files, tmp_path / "v.gguf", spare_rows=2)
    assert [d.render() for d in comparison.unexplained] == []
    assert value(vocabulary, "tokens")[2000:] == ("<|user|>", "[tool]", "[PAD2002]", "[PAD2003]")
    assert value(vocabulary, "token_type")[2000:] == (3, 4, 5, 5)


@pytest.mark.parametrize("lowercase", [True, False])
def test_bert_from_vocab_txt(lowercase: bool, tmp_path: Path) -> None:
    files = {"vocab.txt": bert_vocab(lowercase=lowercase), "tokenizer_config.json": {"do_lower_case": lowercase}}
    document = json.loads(oracle_json(as_bytes(files)) or b"")
    vocabulary, comparison = proven({**files, "tokenizer.json": document}, tmp_path / "v.gguf", arch="bert")
    assert vocabulary.model == "bert"
    assert value(vocabulary, "normalizer.lowercase") is lowercase
    assert vocabulary.special["bos"] == document["model"]["vocab"]["[CLS]"]
    assert [d.render() for d in comparison.unexplained] == []
    # English, code and numbers are equal; llama.cpp's treatment of other texts is named.
    different = {d.piece.name for d in comparison.differences}
    assert not {n for n in different if n.startswith(("code/", "digits/", "punctuation/", "contractions/", "special/"))}
    assert "script/english" not in different
    assert {d.cause for d in comparison.differences} <= {"text treatment of WordPiece"}


def _unigram_document(model: bytes) -> dict[str, Any]:
    from sentencepiece import sentencepiece_model_pb2  # noqa: PLC0415  # of the dev extra

    parsed = sentencepiece_model_pb2.ModelProto()
    parsed.ParseFromString(model)
    charsmap = base64.b64encode(parsed.normalizer_spec.precompiled_charsmap).decode()
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "decoder": None, "post_processor": None,
        "added_tokens": [{"id": i, "content": parsed.pieces[i].piece, **plain} for i in (0, 1, 2)],
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "WhitespaceSplit"},
            {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
        ]},
        "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": False,
                  "vocab": [[p.piece, p.score] for p in parsed.pieces]},
    }  # fmt: skip


def test_unigram_ids_are_equal_but_for_decomposed_marks(tmp_path: Path) -> None:
    model = sentencepiece_file("unigram", normalization_rule_name="nmt_nfkc", remove_extra_whitespaces=True,
                               pad_id=0, eos_id=1, unk_id=2, bos_id=-1)  # fmt: skip
    vocabulary, comparison = proven({"tokenizer.json": _unigram_document(model)}, tmp_path / "v.gguf", arch="t5")
    assert vocabulary.model == "t5"
    assert value(vocabulary, "remove_extra_whitespaces") is True
    # `tokenizers` applies the charsmap to whole graphemes, llama.cpp and SentencePiece to the longest prefix.
    wrong = {d.piece.name for d in comparison.unexplained}
    assert wrong <= {"marks/stacked marks", "marks/hangul jamo", "marks/lone marks", "whitespace/next line"}
    assert not comparison.check().passed


def test_merges_that_scores_cannot_express_are_refused(tmp_path: Path) -> None:
    document = _json_of(sentencepiece_file())
    document["model"]["merges"] = document["model"]["merges"][:-1]
    with pytest.raises(InputError, match="are not merged, although") as caught:
        proven({"tokenizer.json": document}, tmp_path / "v.gguf")
    assert "tokenizer.model" in (caught.value.diagnostics[0].hint or "")


def test_a_vocabulary_without_byte_tokens_is_refused(tmp_path: Path) -> None:
    model = sentencepiece_file(byte_fallback=False)
    with pytest.raises(InputError, match="lacks 256 of the 256 byte tokens"):
        proven({"tokenizer.model": model}, tmp_path / "v.gguf")


def test_a_normalising_model_file_is_refused(tmp_path: Path) -> None:
    model = sentencepiece_file(normalization_rule_name="nmt_nfkc")
    with pytest.raises(InputError, match="normalises text"):
        proven({"tokenizer.model": model}, tmp_path / "v.gguf")


def test_no_tokenizer_at_all() -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json, tokenizer\.model or vocab\.txt"):
        map_vocabulary(header({}), n_vocab=10, arch="llama")


def test_an_unknown_kind() -> None:
    document = {**byte_bpe(pt.ByteLevel(add_prefix_space=False)), "model": {"type": "WordLevel", "vocab": {}}}
    with pytest.raises(InputError, match="no tokenizer of the type WordLevel"):
        map_vocabulary(header({"tokenizer.json": document}), n_vocab=10, arch="llama")
