"""The quickstart's model for a browser, as the emitter sees it."""

from __future__ import annotations

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
