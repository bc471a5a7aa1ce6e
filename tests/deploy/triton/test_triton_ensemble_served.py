"""The ensemble of tokenizer, encoder and pooling on a real tritonserver, against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_models import WIDTH, token_table, write_encoder
from tokenizers import Tokenizer

from edgec.deploy.triton.embedding_ensemble import EmbeddingEnsembleSettings, embedding_ensemble
from edgec.deploy.triton.model_config import Queue
from edgec.deploy.triton.repository import checked_files, expected_files
from edgec.toolchain.environments import Environment
from edgec.trial.triton_server import triton_server

TOKENIZER = Path(__file__).parents[3] / "models" / "docs-llama" / "tokenizer.json"
TEXTS = ["Hello", "How is a server started, and where does its log stand?"]


def _settings(backend: str) -> EmbeddingEnsembleSettings:
    return EmbeddingEnsembleSettings(
        name="mini", dimension=WIDTH, context=32, pooling="mean", pad_id=0, threads=1, queue=Queue(8, 1000),
        encoder_backend=backend,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_lint_passes_both_backends() -> None:
    for backend in ("python", "onnxruntime"):
        models = embedding_ensemble(_settings(backend), tokenizer=TOKENIZER.read_bytes())
        assert [m.config.name for m in models] == ["mini", "mini_tokenizer", "mini_encoder", "mini_pooling"]
        assert ("mini_encoder/1/model.py" in checked_files(models)) == (backend == "python")
        assert expected_files(models) == ("mini_encoder/1/model.onnx",)


@pytest.mark.toolchain
def test_embeddings_are_what_numpy_computes(triton_environment: Environment, tmp_path: Path) -> None:
    models = embedding_ensemble(_settings("python"), tokenizer=TOKENIZER.read_bytes())
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    repository = tmp_path / "models"
    for path, data in checked_files(models).items():
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_bytes(data)
    (encoder,) = expected_files(models)
    write_encoder(repository / encoder, tokenizer.get_vocab_size())
    with triton_server(triton_environment, repository, models=["mini"], log=tmp_path / "log") as server:
        both = server.http.post("/v2/models/mini/infer", _request(TEXTS)).json()
        alone = server.http.post("/v2/models/mini/infer", _request(TEXTS[:1])).json()
        refused = server.http.post("/v2/models/mini/infer", _request(["word " * 40]))
    rows = np.array(both["outputs"][0]["data"], dtype=np.float32).reshape(len(TEXTS), WIDTH)
    table = token_table(tokenizer.get_vocab_size())
    means = np.stack([table[tokenizer.encode(text).ids].mean(axis=0) for text in TEXTS])
    np.testing.assert_allclose(rows, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-5)
    # The padding beside a longer text changes nothing.
    np.testing.assert_allclose(rows[0], np.array(alone["outputs"][0]["data"], dtype=np.float32), atol=1e-6)
    assert not refused.is_ok
    assert b"the model takes 32 at most" in refused.body


def _request(texts: list[str]) -> dict[str, object]:
    return {"inputs": [{"name": "text_input", "datatype": "BYTES", "shape": [len(texts), 1], "data": texts}]}
