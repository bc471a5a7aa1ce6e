"""Special tokens, chat templates, added tokens and what is refused: the words people read are fixed here."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizer_models import byte_bpe, header, sentencepiece_file, split, value
from tokenizers import normalizers
from tokenizers import pre_tokenizers as pt

from edgec.errors import InputError
from edgec.formats.gguf.model import Vocabulary
from edgec.formats.gguf.vocabulary import map_vocabulary
from edgec.formats.gguf.vocabulary.names import missing_for_name
from edgec.formats.gguf.vocabulary.pretokenizer import canonical_regex
from edgec.formats.gguf.vocabulary.sentencepiece import parse_sentencepiece
from edgec.formats.gguf.vocabulary.structures import STRUCTURES

GPT2_BYTES = pt.ByteLevel(add_prefix_space=False, use_regex=True)
PATTERNS = {s.name: s.steps[0] for s in STRUCTURES}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return byte_bpe(GPT2_BYTES)


def _added(index: int, content: str, **flags: bool) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {"id": index, "content": content, **plain, **flags}


def _mapped(document: dict[str, Any], *, config: dict[str, Any] | None = None, **files: Any) -> Vocabulary:
    named = {name.replace("__", "."): content for name, content in files.items()}
    return map_vocabulary(header({"tokenizer.json": document, **named}, config), n_vocab=2600, arch="llama")


def test_order_of_the_files_that_name_special_tokens(document: dict[str, Any]) -> None:
    vocabulary = _mapped(
        document,
        config={"bos_token_id": 7, "eos_token_id": [1, 0], "pad_token_id": 5},
        tokenizer_config__json={"bos_token": {"content": "<|im_start|>"}, "add_bos_token": True},
        special_tokens_map__json={"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"},
        generation_config__json={"eos_token_id": [9], "pad_token_id": 8},
    )
    assert vocabulary.special == {"bos": 1, "pad": 5, "eos": 0}
    assert value(vocabulary, "add_bos_token") is True


def test_a_special_id_outside_the_vocabulary_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="the bos token has id 9999, but the vocabulary has 2600 entries"):
        _mapped(document, config={"bos_token_id": 9999})


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "tokenizer_config__json",
            {"eos_token": "<|nope|>"},
            "eos token '<|nope|>' is not in the vocabulary: an answer",
        ),
        ("tokenizer_config__json", {"bos_token": {"content": "<|nope|>"}}, "bos token '<|nope|>' is not in the"),
        ("special_tokens_map__json", {"eos_token": "<|nope|>"}, "eos token '<|nope|>' is not in the vocabulary"),
        ("generation_config__json", {"eos_token_id": [0, 2600]}, "eos token has id 2600, but the vocabulary has 2600"),
        ("generation_config__json", {"bos_token_id": -1}, "bos token has id -1, but the vocabulary has 2600"),
    ],
)
def test_an_end_or_a_beginning_that_does_not_exist_is_refused(
    document: dict[str, Any], file: str, content: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        _mapped(document, **{"tokenizer_config__json": {"eos_token": "<|endoftext|>"}, file: content})
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.place == file.replace("__", ".")
    assert diagnostic.hint


def test_other_special_tokens_that_do_not_exist_are_noted(document: dict[str, Any]) -> None:
    vocabulary = _mapped(document, tokenizer_config__json={"pad_token": "<pad>", "unk_token": "<|endoftext|>"})
    assert vocabulary.notes == ("the pad token '<pad>' of tokenizer_config.json is not in the vocabulary: ignored",)
    assert vocabulary.special == {"unk": 0}


@pytest.mark.parametrize(
    ("name", "missing"),
    [("phi-4", ()), ("My-Phi3", ("</s>", "<unk>", "<s>")), ("a-phi-3-b", ("</s>", "<unk>", "<s>"))],
)
def test_tokens_that_llama_cpp_demands_for_a_name(
    document: dict[str, Any], name: str, missing: tuple[str, ...]
) -> None:
    assert missing_for_name(name, _mapped(document)) == missing


def test_bos_and_eos_of_the_post_processor(document: dict[str, Any]) -> None:
    def token(name: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": 0}}

    text = {"Sequence": {"id": "A", "type_id": 0}}
    single = [token("<|im_start|>"), text, token("<|endoftext|>")]
    ids = {"<|endoftext|>": 0, "<|im_start|>": 1}
    special = {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in ids.items()}
    processor = {"type": "TemplateProcessing", "single": single, "pair": [text, text], "special_tokens": special}
    steps = [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}, processor]
    settings = {"bos_token": "<|im_start|>", "eos_token": "<|im_start|>"}
    vocabulary = _mapped(
        {**document, "post_processor": {"type": "Sequence", "processors": steps}}, tokenizer_config__json=settings
    )
    assert (value(vocabulary, "add_bos_token"), value(vocabulary, "add_eos_token")) == (True, True)
    # What the template adds ends the text; the token the model calls eos ends a turn.
    assert vocabulary.special == {"bos": 1, "eos": 0, "eot": 1}


def test_types_of_added_tokens_and_unused_rows(document: dict[str, Any]) -> None:
    n = 2500
    added = [
        *document["added_tokens"],
        _added(n, "<|tool|>"), _added(n + 1, "\u2581[x]"), _added(n + 2, "<mask>"), _added(n + 3, "<c>", special=True),
    ]  # fmt: skip
    vocabulary = _mapped({**document, "added_tokens": added})
    assert value(vocabulary, "tokens")[n : n + 6] == ("<|tool|>", " [x]", "<mask>", "<c>", "[PAD2504]", "[PAD2505]")
    assert value(vocabulary, "token_type")[n : n + 6] == (3, 4, 3, 3, 5, 5)


def test_both_forms_of_merges_are_one(document: dict[str, Any]) -> None:
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in document["model"]["merges"]]
    forms = [pairs, [" ".join(pair) for pair in pairs]]
    mapped = [_mapped({**document, "model": {**document["model"], "merges": form}}) for form in forms]
    assert value(mapped[0], "merges") == value(mapped[1], "merges") == tuple(forms[1])


def test_chat_templates(document: dict[str, Any]) -> None:
    named = [
        {"name": "tool-use", "template": "t"},
        {"name": "default", "template": "d"},
        {"name": "rag", "template": "r"},
    ]
    of_list = _mapped(document, tokenizer_config__json={"chat_template": named})
    entries = {e.key: e.value for e in of_list.metadata if "chat_template" in e.key}
    assert of_list.chat_template == "d"
    assert entries == {
        "tokenizer.chat_template.tool_use": "t",
        "tokenizer.chat_template.rag": "r",
        "tokenizer.chat_templates": ("rag", "tool_use"),
        "tokenizer.chat_template": "d",
    }
    jinja = _mapped(document, tokenizer_config__json={}, chat_template__jinja=b"j", chat_template__json={})
    assert (jinja.chat_template, jinja.chat_template_file) == ("j", "chat_template.jinja")
    assert _mapped(document, chat_template__json={"chat_template": "k"}).chat_template == "k"
    files = {"tokenizer.json": document, "tokenizer_config.json": {"chat_template": "d"}}
    override = map_vocabulary(header(files), n_vocab=2600, arch="llama", chat_template="mine")
    assert override.chat_template == "mine"
    assert _mapped(document).chat_template is None


def test_an_unknown_pre_tokenizer_names_the_pattern_and_the_line_to_write() -> None:
    unknown = byte_bpe(pt.Sequence([split(r"\p{L}+|\d{2}"), pt.ByteLevel(add_prefix_space=False, use_regex=False)]))
    with pytest.raises(InputError) as caught:
        _mapped(unknown)
    assert str(caught.value).startswith(
        "tokenizer.json: error: the pre-tokenizer is none of those that llama.cpp is known to split alike: "
        r"Split(Regex=\p{L}+|\d{2}, behavior=Isolated, invert=False), then ByteLevel(add_prefix_space=False, "
        "use_regex=False)\n"
        "hint: if you know the name llama.cpp has for it, write it into the recipe: `tokenizer: {pre: <name>}`; the "
        "proof then compares the ids. Names edgec recognises by itself: bailingmoe, bloom, deepseek-coder"
    )


def test_an_override_must_be_a_name_of_the_runtime(document: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no pre-tokenizer 'qwen-2'") as caught:
        map_vocabulary(header({"tokenizer.json": document}), n_vocab=2600, arch="llama", pre="qwen-2")
    assert "did you mean qwen2" in (caught.value.diagnostics[0].hint or "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "the normalizer Lowercase changes the text"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}]}}, "the normalizer NFKC changes"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, "adds a space before the text"),
        ({"added_tokens": [{"id": "x", "content": "y"}]}, r"added_tokens\[0\] needs a number `id`"),
        ({"added_tokens": [_added(9999, "z")]}, "token id 9999 lies outside"),
        ({"added_tokens": [_added(2590, "!")]}, "ids 2 and 2590 are both '!'"),
        ({"model": None}, "`model` is missing"),
        ({"model": {"type": "Odd"}}, "no tokenizer of the type Odd"),
        ({"post_processor": {"type": "Odd"}}, "`tokenizers` cannot read it: data did not match"),
    ],
)
def test_refused_documents(document: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _mapped({**document, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dropout": 0.1}, "merges are dropped at random"),
        ({"end_of_word_suffix": "</w>"}, "tokens at the end of words have a suffix"),
        ({"merges": []}, "`model.merges` is missing"),
        ({"merges": ["a b c"]}, "not a merge of two parts"),
        ({"vocab": {"a": 0, "b": 0}}, "the tokens 'a' and 'b' of `model.vocab` have the same id, 0"),
        ({"vocab": {"a": 0, "b": -4}}, "the token 'b' of `model.vocab` has the id -4, which is not a whole number"),
        ({"vocab": {"a": "0"}}, "the token 'a' of `model.vocab` has the id '0', which is not a whole number"),
        ({"vocab": ["a"]}, "`model.vocab` must map tokens to ids"),
        ({"merges": [["zzz", "yyy"]]}, "`tokenizers` cannot read it: Token `zzz` out of vocabulary"),
    ],
)
def test_refused_models(document: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _mapped({**document, "model": {**document["model"], **change}})


def test_ignore_merges_is_only_taken_for_another_where_it_changes_nothing(document: dict[str, Any]) -> None:
    model = {**document["model"], "ignore_merges": True}
    assert _mapped({**document, "model": model}).pre == "gpt-2"
    model["vocab"] = {**model["vocab"], "\u0120unreachable": 2550}
    with pytest.raises(InputError, match="`ignore_merges` is true") as caught:
        _mapped({**document, "model": model})
    assert "`tokenizer: {pre: gpt-2}`" in (caught.value.diagnostics[0].hint or "")


def test_bos_that_llama_cpp_would_add_by_itself_is_switched_off() -> None:
    pattern = split(PATTERNS["llama-bpe"])
    llama = byte_bpe(pt.Sequence([pattern, pt.ByteLevel(add_prefix_space=False, use_regex=False)]), ignore_merges=True)
    assert value(_mapped(llama), "add_bos_token") is False


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        (
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1}"
            r"| ?[^\s\p{L}\p{N}]++"
            "[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
            "qwen2",
        ),
        (PATTERNS["llama-bpe"], "llama-bpe"),
    ],
)
def test_spellings_of_one_pattern(spelling: str, name: str) -> None:
    assert canonical_regex(spelling) == PATTERNS[name]


def test_keeping_only_matches_is_a_split_where_the_pattern_matches_everything(document: dict[str, Any]) -> None:
    def removed(pattern: str) -> dict[str, Any]:
        keep = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Removed", "invert": True}
        letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
        return {**document, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [keep, letters]}}

    assert _mapped(removed(PATTERNS["qwen2"])).pre == "qwen2"
    with pytest.raises(InputError, match="none of those"):
        _mapped(removed(PATTERNS["bloom"]))


def test_normalizers_that_change_nothing_for_composed_text() -> None:
    vocabulary = _mapped(byte_bpe(GPT2_BYTES, normalizer=normalizers.Sequence([normalizers.NFC()])))
    assert len(vocabulary.notes) == 1


@given(st.data())
def test_a_damaged_model_file_is_an_input_error_or_a_model(data: st.DataObject) -> None:
    model = sentencepiece_file()[:4000]
    cut = data.draw(st.integers(0, len(model)))
    at = data.draw(st.integers(0, len(model) - 1))
    damaged = bytearray(model[:cut])
    if at < cut:
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        pieces = parse_sentencepiece(bytes(damaged), "tokenizer.model").pieces
    except InputError as error:
        refusal = error.diagnostics[0].place
    else:
        refusal = "tokenizer.model" if pieces else None
    assert refusal == "tokenizer.model"


def test_the_parser_agrees_with_sentencepiece() -> None:
    import sentencepiece  # noqa: PLC0415  # of the dev extra

    model = sentencepiece_file()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    parsed = parse_sentencepiece(model, "tokenizer.model")
    assert [(p.text, p.score) for p in parsed.pieces] == [
        (processor.IdToPiece(i), processor.GetScore(i)) for i in range(processor.vocab_size())
    ]
    assert (parsed.unk_id, parsed.bos_id, parsed.eos_id) == (processor.unk_id(), processor.bos_id(), processor.eos_id())
