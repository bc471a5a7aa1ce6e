"""Every family and option: llama.cpp computes what transformers computes, in float32, on a random tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from family_models import DECODERS, ENCODERS, RERANKER, Convert, Run, TinyModel, save

pytestmark = pytest.mark.reference
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

_TOLERANCE = 1e-3

Record = Callable[[str, object], None]


def _tokens(tiny: TinyModel, n_vocab: int) -> np.ndarray:
    return np.random.default_rng(1).integers(5, n_vocab, size=tiny.n_tokens)


def _relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / (expected.max() - expected.min()))


def _reference(model: Any, tokens: np.ndarray) -> Any:
    with torch.no_grad():
        return model(torch.from_numpy(tokens)[None])


@pytest.mark.parametrize("name", DECODERS)
def test_logits_are_those_of_transformers(
    name: str, tmp_path: Path, convert: Convert, run_llama: Run, record_property: Record
) -> None:
    tiny = DECODERS[name]
    model = save(tiny, tmp_path / "hf")
    gguf, mapped = convert(tmp_path / "hf")
    tokens = _tokens(tiny, 4096)
    expected = _reference(model, tokens).logits[0].numpy()[:, : mapped.shape.n_vocab]
    assert expected.max() - expected.min() > 4, "the model says nothing, so the comparison would show nothing"
    difference = _relative_difference(run_llama(gguf, tokens, "logits"), expected)
    record_property("relative_difference", difference)
    assert difference <= _TOLERANCE


@pytest.mark.parametrize("name", ENCODERS)
def test_embeddings_are_those_of_transformers(
    name: str, tmp_path: Path, convert: Convert, run_llama: Run, record_property: Record
) -> None:
    tiny = ENCODERS[name]
    model = save(tiny, tmp_path / "hf")
    gguf, _ = convert(tmp_path / "hf")
    tokens = _tokens(tiny, 300)
    encoder = model.bert if hasattr(model, "bert") else model
    expected = _reference(encoder, tokens).last_hidden_state[0].numpy()
    difference = _relative_difference(run_llama(gguf, tokens, "rows"), expected)
    record_property("relative_difference", difference)
    assert difference <= _TOLERANCE


@pytest.mark.parametrize(("name", "pooled"), [("bert-mean", "mean"), ("bert-cls", "cls"), ("bert-last", "last")])
def test_texts_are_pooled_as_sentence_transformers_does(
    name: str, pooled: str, tmp_path: Path, convert: Convert, run_llama: Run
) -> None:
    tiny = ENCODERS[name]
    model = save(tiny, tmp_path / "hf")
    gguf, _ = convert(tmp_path / "hf")
    tokens = _tokens(tiny, 300)
    rows = _reference(model, tokens).last_hidden_state[0].numpy()
    expected = {"mean": rows.mean(axis=0), "cls": rows[0], "last": rows[-1]}[pooled]
    assert _relative_difference(run_llama(gguf, tokens, "pooled")[0], expected) <= _TOLERANCE


def test_a_reranker_scores_as_transformers_does(tmp_path: Path, convert: Convert, run_llama: Run) -> None:
    model = save(RERANKER, tmp_path / "hf")
    gguf, mapped = convert(tmp_path / "hf")
    assert mapped.kind == "reranker"
    rng = np.random.default_rng(2)
    sequences = [rng.integers(5, 300, size=n) for n in (12, 40, 90)]
    expected = np.array([_reference(model, tokens).logits[0, 0].item() for tokens in sequences])
    found = np.array([run_llama(gguf, tokens, "pooled")[0, 0] for tokens in sequences])
    assert np.ptp(expected) > 0.1, "the model says nothing, so the comparison would show nothing"
    assert _relative_difference(found, expected) <= _TOLERANCE


@pytest.mark.parametrize("name", ["mistral-window", "qwen2-window-of-late-layers", "phi3-window"])
def test_the_context_is_cut_because_llama_cpp_has_no_window_here(
    name: str, tmp_path: Path, convert: Convert, run_llama: Run
) -> None:
    tiny = DECODERS[name]
    window = tiny.options["sliding_window"]
    model = save(tiny, tmp_path / "hf")
    gguf, mapped = convert(tmp_path / "hf")
    assert mapped.shape.context_length == window
    tokens = np.random.default_rng(1).integers(5, 4096, size=2 * window)
    expected = _reference(model, tokens).logits[0].numpy()
    found = run_llama(gguf, tokens, "logits")
    assert _relative_difference(found[:window], expected[:window]) <= _TOLERANCE
    assert _relative_difference(found[window:], expected[window:]) > 0.05
