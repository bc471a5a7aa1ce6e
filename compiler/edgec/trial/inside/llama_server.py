"""Runs llama.cpp's server on a model, by xllamacpp. edgec starts this file and never imports it.

Rule: it listens on 127.0.0.1 only, says its address in one line of JSON on standard output, and ends with edgec.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import xllamacpp


def main(lifeline: int, settings: dict[str, Any]) -> None:
    """Serves until the other end of the pipe closes. `settings`: of `edgec.trial.llama_server.serving`."""
    os.set_inheritable(lifeline, False)
    # xllamacpp's destructor waits for ever when the server's loop has not begun, and loading cannot be interrupted.
    threading.Thread(target=lambda: os._exit(0 if os.read(lifeline, 1) else 1), daemon=True).start()
    server = xllamacpp.Server(_params(settings))
    print(json.dumps({"address": server.listening_address}), flush=True)  # noqa: T201 - what edgec waits for
    threading.Event().wait()


def _params(settings: dict[str, Any]) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.hostnames, params.port = ["127.0.0.1"], settings["port"]
    params.n_ctx, params.n_parallel = settings["context"], 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    if settings["api_key"]:
        params.api_keys = [settings["api_key"]]
    if settings["chat_template"]:
        params.chat_template = settings["chat_template"]
    if settings["kind"] != "decoder":
        params.embedding = True
        # A text is embedded in one piece.
        params.n_batch = params.n_ubatch = settings["context"]
    if settings["kind"] == "reranker":
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    return params


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
