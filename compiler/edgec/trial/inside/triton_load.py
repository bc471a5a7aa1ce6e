"""Runs in the toolchain's environment: loads a model of a running tritonserver over gRPC.

Rule: never over HTTP. A load holds the HTTP thread that it came to; Triton 2.51 then loses the responses of that
thread's streams beyond some 277 that wait, without an error, and such a stream never ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`error` is what the server says against the load, None when it was done."""
    client = triton.InferenceServerClient(f"127.0.0.1:{request['port']}")
    try:
        client.load_model(request["model"], client_timeout=request["timeout_s"])
    except InferenceServerException as error:
        return {"error": str(error)}
    return {"error": None}
