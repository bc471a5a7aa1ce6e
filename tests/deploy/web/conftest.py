"""The quickstart's model for a browser, as the emitter sees it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgec.deploy.model import Device, ServedModel


@pytest.fixture
def model() -> ServedModel:
    """In two shards, with a chat template."""
    return ServedModel(
        name="docs-llama",
        version="1.0.0",
        title="Docs Llama",
        description=None,
        licence="apache-2.0",
        kind="decoder",
        format="gguf",
        scheme="q8_0",
        weights="sha256:" + "5" * 64,
        files=("gguf/docs-llama-q8_0-00001-of-00002.gguf", "gguf/docs-llama-q8_0-00002-of-00002.gguf"),
        architecture="llama",
        parameters=1_000_000,
        context=256,
        batch=1,
        embedding_length=64,
        pooling=None,
        chat_template="{{ messages }}",
        special_texts={},
        device=Device("wasm-browser", "WebAssembly in a browser", "wasm32", 4, available_mib=3840, needed_mib=76.4),
    )


@pytest.fixture
def encoder(model: ServedModel) -> ServedModel:
    """A sentence encoder as ONNX."""
    return replace(
        model, name="minilm", title="minilm", kind="encoder", format="onnx", scheme="int8_fine",
        files=("onnx/model-int8_fine.onnx",), architecture="BertModel", embedding_length=384, pooling="mean",
        chat_template=None, bert_tokenizer=True,
    )  # fmt: skip
