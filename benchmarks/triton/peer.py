"""xllamacpp's own HTTP server, in a process of its own, with the settings that the Triton model gives to llama.cpp."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from edgec.trial.http_client import HttpClient

_SERVE = """
import sys, threading, xllamacpp
path, parallel, context, threads = sys.argv[1], *map(int, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path, params.n_parallel, params.n_ctx = path, parallel, parallel * context
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
params.hostnames, params.port, params.verbosity = ["127.0.0.1"], 0, 1
params.n_batch = params.n_ubatch = 512
params.cache_ram_mib, params.n_ctx_checkpoints = 0, 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
import os
os._exit(0)
"""


@contextlib.contextmanager
def own_server(python: Path, gguf: Path, sizes: tuple[int, int, int], log: Path) -> Iterator[HttpClient]:
    """The server; it ends with the block. `sizes`: sequences at once, tokens of each, threads."""
    arguments = [str(python), "-c", _SERVE, str(gguf), *map(str, sizes)]
    with (
        log.open("wb") as sink,
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True) as child,
    ):
        if child.stdout is None or child.stdin is None:
            raise RuntimeError("no pipes")
        try:
            yield HttpClient(int(child.stdout.readline().strip().rsplit(":", 1)[1]))
        finally:
            child.stdin.close()
            child.wait(30)
