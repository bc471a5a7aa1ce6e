"""The child process that runs llama.cpp's server for its rendering of a chat template.

Rule: the server listens on a free port of 127.0.0.1, for this process alone, and ends with it.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from typing import Any
from urllib.parse import urlsplit

import xllamacpp

from edgec.errors import ToolError
from edgec.formats.gguf.runtime.worker import serve_commands

_TIMEOUT_S = 60.0
# Never destroyed: xllamacpp's destructor waits for ever when the server's loop has not begun, which happens often.
# The parent kills this process instead.
_SERVERS: list[xllamacpp.Server] = []


def render(model: str, conversations: list[list[dict[str, str]]]) -> dict[str, Any]:
    """The prompt of every conversation, in `prompts`; None where the template or the server refuses it."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel, params.warmup = 64, 1, False
    try:
        server = xllamacpp.Server(params)
    except RuntimeError:
        # The server tries the template when it starts, and does not start when that fails. The log says why.
        return {"prompts": [None] * len(conversations)}
    _SERVERS.append(server)
    address = urlsplit(server.listening_address)
    if address.hostname is None or address.port is None:
        raise ToolError.of(f"llama.cpp's server listens on no address: {server.listening_address}")
    return {"prompts": [_apply(address.hostname, address.port, messages) for messages in conversations]}


def _apply(host: str, port: int, messages: list[dict[str, str]]) -> str | None:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        body = json.dumps({"messages": messages})
        connection.request("POST", "/apply-template", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        reply = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ToolError.of(f"llama.cpp's server cannot apply the chat template: {error}") from error
    finally:
        connection.close()
    return str(reply["prompt"]) if answer.status == http.client.OK else None


if __name__ == "__main__":
    serve_commands({"render": render}, parent=int(sys.argv[1]))
    os._exit(0)  # no destructors, see above
