"""Windows and prompts from the source's own tokenizer files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from proof_models import DOCS_LLAMA
from tokenizers import Tokenizer

from edgec.errors import InputError
from edgec.events import Event, Note, silent
from edgec.prove.decoder_pair.texts import PairTokenizer
from edgec.prove.held_out import built_in_text
from edgec.recipe.model import Prove
from edgec.source.local import open_local

FILES = open_local(DOCS_LLAMA).header.files
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def with_bos() -> dict[str, bytes]:
    """docs-llama's tokenizer, which puts <|im_start|> before every text."""
    document: dict[str, Any] = json.loads(FILES["tokenizer.json"])
    bos = Tokenizer.from_str(json.dumps(document)).token_to_id("<|im_start|>")
    document["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [bos], "tokens": ["<|im_start|>"]}},
    }
    return {**FILES, "tokenizer.json": json.dumps(document).encode()}


def test_windows_lie_evenly_over_the_text() -> None:
    tokenizer = PairTokenizer(FILES)
    held_out = tokenizer.windows(built_in_text(), Prove(windows=4, window_tokens=64), silent, n_ctx=256, n_vocab=4096)
    ids = Tokenizer.from_buffer(FILES["tokenizer.json"]).encode(built_in_text()).ids
    assert (held_out.size, held_out.scored_from, len(held_out.windows)) == (64, 32, 4)
    assert held_out.windows[0] == tuple(ids[:64])
    assert held_out.windows[-1] == tuple(ids[-64:])
    assert tokenizer.bos is None


def test_a_model_with_bos_gets_it_before_every_window() -> None:
    tokenizer = PairTokenizer(with_bos())
    held_out = tokenizer.windows(built_in_text(), Prove(windows=4, window_tokens=64), silent, n_ctx=256, n_vocab=4096)
    assert tokenizer.bos is not None
    assert {window[0] for window in held_out.windows} == {tokenizer.bos}
    assert tokenizer.bos not in held_out.windows[1][1:]


def test_a_text_without_one_window_is_refused_and_a_short_context_is_said() -> None:
    tokenizer, events = PairTokenizer(FILES), list[Event]()
    with pytest.raises(InputError, match=r"held-out text has \d+ tokens; one window of the proof needs 256"):
        tokenizer.windows("Too short.", Prove(), silent, n_ctx=256, n_vocab=4096)
    tokenizer.windows(built_in_text(), Prove(windows=2), events.append, n_ctx=32, n_vocab=4096)
    assert Note("the proof uses windows of 32 tokens: the model was trained with no more") in events


@pytest.mark.parametrize("bos", [False, True])
def test_prompts_are_the_ids_of_their_texts(bos: bool) -> None:
    files = with_bos() if bos else FILES
    tokenizer, plain = PairTokenizer(files), Tokenizer.from_buffer(files["tokenizer.json"])
    *pieces, chat = tokenizer.prompts(built_in_text(), TEMPLATE, size=64)
    assert len(pieces) == 8
    for prompt in pieces:
        assert 20 < len(prompt.token_ids) <= 64
        assert prompt.text in built_in_text()
        assert list(prompt.token_ids) == plain.encode(prompt.text, add_special_tokens=prompt.adds_special).ids
    assert (chat.name, chat.chat) == ("chat", "What is the capital of France?")
    # The template writes the special tokens; no second bos comes before them.
    assert list(chat.token_ids) == plain.encode(chat.text, add_special_tokens=False).ids
    assert plain.id_to_token(chat.token_ids[0]) == "<|im_start|>"
    assert plain.id_to_token(chat.token_ids[1]) != "<|im_start|>"


def test_without_a_template_there_is_no_chat() -> None:
    assert "chat" not in {p.name for p in PairTokenizer(FILES).prompts(built_in_text(), None, size=64)}


def test_answers_are_written_without_special_tokens() -> None:
    tokenizer, plain = PairTokenizer(FILES), Tokenizer.from_buffer(FILES["tokenizer.json"])
    end = plain.token_to_id("<|im_end|>")
    assert tokenizer.answer_text([*plain.encode(" the sea").ids, end]) == " the sea"


def test_a_source_without_tokenizer_is_refused() -> None:
    with pytest.raises(InputError, match="no tokenizer file"):
        PairTokenizer({"config.json": b"{}"})
