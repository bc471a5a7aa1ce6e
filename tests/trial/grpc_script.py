"""Runs in the toolchain's environment: asks a language model over gRPC, and may leave in mid-stream."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as triton


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """The texts of the responses, and the error that ended them. `leave_after`: responses before it leaves."""
    client = triton.InferenceServerClient(f"127.0.0.1:{request['port']}")
    replies: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: replies.put((result, error)))
    client.async_stream_infer(request["model"], list(map(_input, request["inputs"])))
    texts: list[str] = []
    while True:
        result, error = replies.get(timeout=60)
        if error is not None:
            return {"texts": texts, "error": str(error)}
        texts.append(result.as_numpy("text_output")[0].decode())
        if result.as_numpy("finish_reason")[0]:
            client.stop_stream()
            return {"texts": texts, "error": None}
        if len(texts) == request["leave_after"]:
            client.stop_stream(cancel_requests=True)
            return {"texts": texts, "error": None}


def _input(tensor: dict[str, Any]) -> triton.InferInput:
    value = np.array([v.encode() if isinstance(v, str) else v for v in tensor["data"]], dtype=tensor["numpy"])
    made = triton.InferInput(tensor["name"], list(value.shape), tensor["type"])
    made.set_data_from_numpy(value)
    return made
