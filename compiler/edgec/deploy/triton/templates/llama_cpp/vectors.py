"""Embedding models and rerankers in Triton: a batch of requests in, one response each out.

Rule: a batch is one call of llama.cpp, which computes its texts together; a text that it refuses spoils only its own
request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from .llama import Llama
from .refusals import RefusedError
from .settings import Settings
from .tensors import inputs_of, refusal, response, texts_of


class Encoder:
    """Embeds texts: `text_input` (batch, 1) to `embedding` (batch, embedding length)."""

    def __init__(self, llama: Llama) -> None:
        self._llama = llama

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        texts: list[list[str] | RefusedError] = [_texts_or_refusal(request) for request in requests]
        good = [text for one in texts if not isinstance(one, RefusedError) for text in one]
        try:
            rows = iter(self._embed(good))
        except RefusedError:
            # One of them is too long: asked alone, the others get their answers.
            return [self._alone(one) for one in texts]
        return [refusal(t) if isinstance(t, RefusedError) else _embedding([next(rows) for _ in t]) for t in texts]

    def close(self) -> None:
        """Frees the model."""
        del self._llama

    def _alone(self, texts: list[str] | RefusedError) -> Any:
        if isinstance(texts, RefusedError):
            return refusal(texts)
        try:
            return _embedding(list(self._embed(texts)))
        except RefusedError as error:
            return refusal(error)

    def _embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return self._llama.embed(texts) if texts else np.empty((0, 0), dtype=np.float32)


class Reranker:
    """Scores documents: `query` (1) and `documents` (n) to `scores` (n)."""

    def __init__(self, settings: Settings, llama: Llama) -> None:
        self._max_documents = settings.max_documents
        self._llama = llama

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        return [self._answer(request) for request in requests]

    def close(self) -> None:
        """Frees the model."""
        del self._llama

    def _answer(self, request: Any) -> Any:
        try:
            inputs = inputs_of(request)
            documents = inputs["documents"]
            if not 0 < len(documents) <= self._max_documents:
                raise RefusedError(f"`documents` holds {len(documents)} texts, not 1 to {self._max_documents}")
            return response([pb_utils.Tensor("scores", self._llama.rerank(inputs["query"], documents))])
        except RefusedError as error:
            return refusal(error)


def _texts_or_refusal(request: Any) -> list[str] | RefusedError:
    try:
        return texts_of(request, "text_input")
    except RefusedError as error:
        return error


def _embedding(rows: Sequence[npt.NDArray[np.float32]]) -> Any:
    return response([pb_utils.Tensor("embedding", np.stack(rows))])
