"""What is tried on an embedding model or a reranker in Triton."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgec.deploy.triton.interface import EMBEDDING_INPUTS, RERANK_INPUTS, RERANK_OUTPUTS, embedding_outputs
from edgec.errors import ToolError
from edgec.prove.model import Check
from edgec.trial.http_client import Reply
from edgec.trial.triton_client import TritonModel
from edgec.trial.triton_model_checks import (
    SEE_LOG,
    Step,
    attempt,
    metadata_check,
    metrics_check,
    refusals_check,
    reload_check,
)
from edgec.trial.verdicts import at_least, none_of

_TEXTS = ("How do I list the files of a folder?", "The sea was calm that morning.")
_QUERY = "list the files of a folder"
_TOO_LONG = "word " * 20_000
# A text's embedding depends on its batch by rounding only.
_LEAST_COSINE = 0.9999
_SUCCESS = ("nv_inference_request_success", "nv_inference_count")


def text_tensor(name: str, texts: Sequence[str], shape: Sequence[int]) -> Mapping[str, Any]:
    """A BYTES tensor of texts."""
    return {"name": name, "datatype": "BYTES", "shape": list(shape), "data": list(texts)}


def embed(model: TritonModel, texts: Sequence[str]) -> list[list[float]]:
    """One embedding per text, from one request. Raises ToolError."""
    output = _output(model.infer([text_tensor("text_input", texts, (len(texts), 1))]), "embedding")
    length = output["shape"][1]
    return [output["data"][at : at + length] for at in range(0, len(output["data"]), length)]


def scores(model: TritonModel, query: str, documents: Sequence[str]) -> list[float]:
    """One score per document. Raises ToolError."""
    reply = model.infer([text_tensor("query", [query], (1,)), text_tensor("documents", documents, (len(documents),))])
    return list(_output(reply, "scores")["data"])


def _output(reply: Reply, name: str) -> dict[str, Any]:
    answer = reply.json()
    if not reply.is_ok:
        raise ToolError.of(f"Triton answers {reply.status}: {answer.get('error')}")
    return next(output for output in answer["outputs"] if output["name"] == name)


def _dimension(model: TritonModel) -> int:
    return int(model.metadata()["outputs"][0]["shape"][-1])


def embedding_metadata(model: TritonModel, folder: Path) -> Check:
    """Input and output."""
    return metadata_check(model, EMBEDDING_INPUTS, embedding_outputs(_dimension(model)), batched=True)


def batch_equals_single(model: TritonModel, folder: Path) -> Check:
    """A text has the same embedding alone and in a batch."""
    batch = embed(model, _TEXTS)
    alone = [embed(model, [text])[0] for text in _TEXTS]
    worst = min(_cosine(a, b) for a, b in zip(batch, alone, strict=True))
    return at_least("embeddings alone and in a batch", worst, _LEAST_COSINE, "cosine", hint=SEE_LOG)


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """-1 for vectors that have none."""
    norms = math.hypot(*a) * math.hypot(*b)
    cosine = math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else -1.0
    return cosine if math.isfinite(cosine) else -1.0


def embedding_refusals(model: TritonModel, folder: Path) -> Check:
    """Bad requests."""
    numbers = {"name": "text_input", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}
    return refusals_check(
        model,
        {
            "a text longer than the context": lambda: model.infer([text_tensor("text_input", [_TOO_LONG], (1, 1))]),
            "numbers for texts": lambda: model.infer([numbers]),
            "a wrong shape": lambda: model.infer([text_tensor("text_input", _TEXTS, (1, 2))]),
            "no text": lambda: model.infer([]),
        },
    )


def embedding_version(model: TritonModel, folder: Path) -> Check:
    """Hot swap under requests."""

    def busy(stop: threading.Event, failures: list[str]) -> None:
        while not stop.is_set():
            with attempt(failures, "a request during the load"):
                embed(model, _TEXTS)

    return reload_check(model, folder, busy)


def vector_metrics(model: TritonModel, folder: Path) -> Check:
    """Counters."""
    return metrics_check(model, _SUCCESS)


def rerank_metadata(model: TritonModel, folder: Path) -> Check:
    """Inputs and output."""
    return metadata_check(model, RERANK_INPUTS, RERANK_OUTPUTS, batched=False)


def scores_of_documents(model: TritonModel, folder: Path) -> Check:
    """One finite score per document, in their order."""
    failures: list[str] = []
    forward, backward = scores(model, _QUERY, _TEXTS), scores(model, _QUERY, _TEXTS[::-1])
    if len(forward) != len(_TEXTS) or not all(map(math.isfinite, forward)):
        failures.append(f"scores {forward} for {len(_TEXTS)} documents")
    elif any(abs(a - b) > 1e-3 for a, b in zip(forward, backward[::-1], strict=True)):
        failures.append(f"scores {forward}, and {backward} in the other order")
    return none_of("scores of documents", failures, 1, "wrong", hint=SEE_LOG)


def rerank_refusals(model: TritonModel, folder: Path) -> Check:
    """Bad requests."""
    query = text_tensor("query", [_QUERY], (1,))
    numbers = {"name": "documents", "datatype": "INT32", "shape": [1], "data": [1]}
    return refusals_check(
        model,
        {
            "a document longer than the context": lambda: model.infer(
                [query, text_tensor("documents", [_TOO_LONG], (1,))]
            ),
            "numbers for texts": lambda: model.infer([query, numbers]),
            "a wrong shape": lambda: model.infer([query, text_tensor("documents", _TEXTS, (1, 2))]),
            "no document": lambda: model.infer([query]),
        },
    )


def rerank_version(model: TritonModel, folder: Path) -> Check:
    """Hot swap under requests."""

    def busy(stop: threading.Event, failures: list[str]) -> None:
        while not stop.is_set():
            with attempt(failures, "a request during the load"):
                scores(model, _QUERY, _TEXTS)

    return reload_check(model, folder, busy)


ENCODER_STEPS: tuple[Step, ...] = (
    embedding_metadata,
    batch_equals_single,
    embedding_refusals,
    vector_metrics,
    embedding_version,
)
RERANKER_STEPS: tuple[Step, ...] = (
    rerank_metadata,
    scores_of_documents,
    rerank_refusals,
    vector_metrics,
    rerank_version,
)
