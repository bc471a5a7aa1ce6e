"""The model's answers through the process: tokens, logits, pieces, greedy text, limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgec.errors import ToolError
from edgec.formats.gguf.runtime.client import LlamaProcess

TEXT = "The function returns a list of"


@pytest.fixture(scope="module")
def llama(docs_llama: Path) -> Iterator[LlamaProcess]:
    with LlamaProcess(docs_llama, n_ctx=512) as process:
        yield process


def test_info_is_the_models(llama: LlamaProcess) -> None:
    info = llama.info()
    assert (info.n_vocab, info.n_ctx_train, info.n_embd, info.n_layer) == (4096, 256, 256, 6)
    assert info.n_ctx == 256, "never more than the model was trained with"
    assert info.special["eos"] == 4095
    assert (info.add_bos, info.add_eos) == (False, False)
    assert info.runtime.startswith("xllamacpp 2026.10.11549 (llama.cpp ")
    assert "<|im_start|>" in (info.chat_template or "")


def test_tokens_and_back(llama: LlamaProcess) -> None:
    ids = llama.tokenize(TEXT + " café 漢字", add_special=True, parse_special=True)
    assert llama.detokenize(ids) == (TEXT + " café 漢字").encode()
    assert llama.tokenize("<|im_end|>", add_special=False, parse_special=True) == [4095]
    assert len(llama.tokenize("<|im_end|>", add_special=False, parse_special=False)) > 1
    assert llama.tokenize("", add_special=False, parse_special=True) == []


def test_a_megabyte_of_text_goes_through(llama: LlamaProcess) -> None:
    text = TEXT * 40_000
    ids = llama.tokenize(text, add_special=False, parse_special=False)
    assert llama.detokenize(ids).decode() == text


def test_logits_depend_only_on_what_stands_before(llama: LlamaProcess) -> None:
    ids = llama.tokenize(TEXT, add_special=True, parse_special=True)
    rows = llama.logits(ids)
    assert rows.shape == (len(ids), 4096)
    assert rows.dtype == np.float32
    spread = float(np.ptp(rows))
    # Not bitwise: llama.cpp multiplies batches of other sizes by other kernels.
    assert np.abs(llama.logits(ids[:-1]) - rows[:-1]).max() < 2e-3 * spread
    assert np.abs(llama.logits([*ids[:-1], 7])[-1] - rows[-1]).max() > 0.05 * spread


def test_memory_is_cleared_between_texts(llama: LlamaProcess) -> None:
    ids = llama.tokenize(TEXT, add_special=True, parse_special=True)
    before = llama.logits(ids)
    llama.logits(list(range(200)))
    llama.generate(ids, 5)
    assert np.array_equal(llama.logits(ids), before)


def test_first_leaves_rows_out(llama: LlamaProcess) -> None:
    ids = list(range(100, 300))
    assert np.array_equal(llama.logits(ids, first=150), llama.logits(ids)[150:])


def test_pieces_are_the_same_rows_in_bounded_calls(docs_llama: Path, llama: LlamaProcess) -> None:
    ids = list(range(100, 300))
    whole = llama.logits(ids, first=100)
    with LlamaProcess(docs_llama, n_ctx=256, n_batch=64) as bounded:
        pieces = list(bounded.logit_pieces(ids, first=100))
    assert [p.shape[0] for p in pieces] == [28, 64, 8]
    assert np.abs(np.concatenate(pieces) - whole).max() < 2e-3 * np.ptp(whole)


def test_an_unfinished_window_does_not_leak_into_the_next(docs_llama: Path) -> None:
    ids = list(range(100, 300))
    with LlamaProcess(docs_llama, n_ctx=256, n_batch=64) as process:
        expected = process.logits(ids)
        next(process.logit_pieces(ids))
        assert np.array_equal(process.logits(ids), expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_result_does_not_depend_on_the_number_of_threads(docs_llama: Path, llama: LlamaProcess, threads: int) -> None:
    ids = list(range(100, 300))
    with LlamaProcess(docs_llama, n_ctx=256, threads=threads) as process:
        assert np.array_equal(process.logits(ids), llama.logits(ids))


def test_greedy_text_follows_the_largest_logit(llama: LlamaProcess) -> None:
    ids = llama.tokenize(TEXT, add_special=True, parse_special=True)
    written = llama.generate(ids, 8)
    assert len(written) == 8
    followed = [*ids, *written]
    assert llama.logits(followed[:-1])[len(ids) - 1 :].argmax(axis=1).tolist() == written


def test_greedy_text_ends_at_the_context(llama: LlamaProcess) -> None:
    assert len(llama.generate(list(range(250)), 100)) <= 7


def test_embeddings_of_a_decoder_tell_texts_apart(docs_llama: Path) -> None:
    with LlamaProcess(docs_llama, n_ctx=256, embeddings=True) as process:
        rows = process.embed([[1, 2, 3], [1, 2, 3], [1000, 7]])
    assert rows.shape == (3, 256)
    assert np.array_equal(rows[0], rows[1])
    assert not np.allclose(rows[0], rows[2])


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "0 tokens do not fit a context of 256"),
        ([1] * 257, "257 tokens do not fit a context of 256"),
        ([4096], "outside the vocabulary of 4096"),
        ([-1], "outside the vocabulary of 4096"),
    ],
)
def test_impossible_tokens_are_refused_and_the_process_lives_on(
    llama: LlamaProcess, tokens: list[int], message: str
) -> None:
    with pytest.raises(ToolError, match=message):
        llama.logits(tokens)
    assert llama.logits([1]).shape == (1, 4096)
