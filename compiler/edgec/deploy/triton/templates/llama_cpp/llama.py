"""llama.cpp's server inside this process: continuous batching, chat templates and sampling are its own.

Rule: requests go to it by function call; its HTTP port is bound to 127.0.0.1 and behind a key that nobody knows.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xllamacpp

from .refusals import RefusedError
from .settings import Settings

# Tokens per call: at most this much passes before a cancelled request stops, and between two tokens of the others.
_BATCH_TOKENS = 512
_ONLY_ERRORS = 1
_CLIENT_ERRORS = range(400, 500)
# What llama.cpp calls its own error 500, though the client gave too long a text.
_TOO_LONG = "too large to process"


class Llama:
    """An open model. Raises RuntimeError when llama.cpp cannot open it; its log says why."""

    def __init__(self, settings: Settings) -> None:
        self._context = settings.context
        self._server = xllamacpp.Server(_params(settings))
        # A task for its loop. Without it the destructor, which waits for the loop's end, may come before its beginning
        # and wait for ever.
        self._server.handle_metrics()

    def stream(self, body: Mapping[str, Any], on_event: Callable[[dict[str, Any]], bool], *, is_chat: bool) -> None:
        """Runs a request; `on_event` gets every event of llama.cpp's stream and stops it by returning True.

        Raises RefusedError: what llama.cpp says against the request.
        """
        run = self._server.handle_chat_completions if is_chat else self._server.handle_completions
        listener = _Listener(on_event)
        try:
            run(dict(body), listener)
        except (RuntimeError, ValueError) as error:
            raise RefusedError(str(error)) from error
        listener.raise_failure()

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One vector per text, shape (texts, embedding length), as `/v1/embeddings` gives. Raises RefusedError."""
        reply = self._reply(self._server.handle_embeddings, {"input": list(texts), "encoding_format": "base64"})
        rows = [np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4") for item in reply["data"]]
        return np.stack(rows).astype(np.float32, copy=False)

    def rerank(self, query: str, documents: Sequence[str]) -> npt.NDArray[np.float32]:
        """One score per document, in their order, as `/v1/rerank` gives. Raises RefusedError."""
        reply = self._reply(self._server.handle_rerank, {"query": query, "documents": list(documents)})
        scores = np.empty(len(documents), dtype=np.float32)
        for item in reply["results"]:
            scores[item["index"]] = item["relevance_score"]
        return scores

    def _reply(self, function: Callable[[dict[str, Any]], dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
        try:
            return _checked(function(body))
        except RefusedError as error:
            if _TOO_LONG not in str(error):
                raise
            raise RefusedError(f"a text is too long: it may have at most {self._context} tokens") from error
        except (RuntimeError, ValueError) as error:
            raise RefusedError(str(error)) from error


class _Listener:
    """Passes events on. What it raises would be lost inside llama.cpp: kept, and raised after the call."""

    def __init__(self, on_event: Callable[[dict[str, Any]], bool]) -> None:
        self._on_event = on_event
        self._failure: BaseException | None = None

    def __call__(self, event: dict[str, Any]) -> bool:
        """Whether llama.cpp shall stop."""
        try:
            return self._on_event(_checked(event))
        except BaseException as failure:
            self._failure = failure
            return True

    def raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _checked(reply: dict[str, Any]) -> dict[str, Any]:
    """The reply, if it is no error."""
    error = reply.get("error")
    if error is None:
        return reply
    is_clients = error.get("code") in _CLIENT_ERRORS
    raise RefusedError(str(error.get("message", error)), "INVALID_ARG" if is_clients else "INTERNAL")


def _params(settings: Settings) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(settings.gguf)
    params.n_parallel = settings.parallel
    params.n_ctx = settings.context * settings.parallel
    # Threads without a core of their own wait for each other.
    threads = min(settings.threads, len(os.sched_getaffinity(0)))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_batch = params.n_ubatch = _BATCH_TOKENS
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [secrets.token_urlsafe(32)]
    params.ui, params.endpoint_slots, params.endpoint_metrics = False, False, True
    params.verbosity = _ONLY_ERRORS
    # The plan counts weights, KV cache and buffers. By default llama.cpp keeps up to 8 GiB of old prompts besides.
    params.cache_ram_mib, params.n_ctx_checkpoints = 0, 0
    # The plan decides what fits, nobody else.
    params.fit_params = False
    if settings.kind != "decoder":
        params.embedding = True
        # A text must be computed in one piece, and the plan counts no more.
        params.n_batch = params.n_ubatch = settings.context
    if settings.kind == "reranker":
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    return params
