"""llama.cpp's server on a model, in a process of its own, for what is tried against it.

Rule: on 127.0.0.1 only; it ends with `serving`, and with edgec.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

from edgec.errors import ToolError
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.surroundings import for_tool

_SCRIPT = Path(__file__).parent / "inside" / "llama_server.py"
_START_TIMEOUT_S = 300.0
_TAIL_LINES = 20


def can_serve() -> bool:
    """Whether this machine has xllamacpp."""
    return importlib.util.find_spec("xllamacpp") is not None


@contextlib.contextmanager
def serving(
    model: Path,
    *,
    kind: Literal["decoder", "encoder", "reranker"],
    context: int,
    log: Path,
    api_key: str | None = None,
    chat_template: str | None = None,
    threads: int | None = None,
    port: int = 0,
    wait: bool = True,
) -> Iterator[str]:
    """A server on the GGUF file `model`; its base URL, without `/v1`. Raises ToolError when it does not start.

    `context`: tokens; `chat_template`: instead of the model's own; `threads`: all cores if None; `port`: 0 for a free
    one; `wait`: until the model is loaded, else a port must be given.
    """
    settings = {
        "model": str(model), "kind": kind, "context": context, "port": port, "threads": threads or usable_cores(),
        "api_key": api_key, "chat_template": chat_template,
    }  # fmt: skip
    child_end, own_end = os.pipe()
    try:
        with log.open("wb") as sink:
            child = subprocess.Popen(  # noqa: S603 - our own argument list, no shell
                [sys.executable, "-I", str(_SCRIPT), str(child_end), json.dumps(settings)], pass_fds=(child_end,),
                env=for_tool(os.environ, str(Path(sys.executable).parent)), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=sink, start_new_session=True,
            )  # fmt: skip
        assert child.stdout is not None  # noqa: S101 - it was started with a pipe
        with child.stdout as output:
            try:
                yield _address(output, log) if wait else f"http://127.0.0.1:{port}"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    finally:
        os.close(child_end)
        os.close(own_end)


def _address(output: IO[bytes], log: Path) -> str:
    """The first line that the server says, which it says when its model is loaded."""
    said: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=lambda: said.put(output.readline()), name="llama-server", daemon=True).start()
    try:
        line = said.get(timeout=_START_TIMEOUT_S)
    except queue.Empty:
        raise ToolError.of("llama.cpp's server does not get ready", hint=f"its log is {log}") from None
    if not line:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        tail = "".join(f"\n  | {shown}" for shown in lines)
        raise ToolError.of(f"llama.cpp's server does not start{tail}", hint=f"its whole log is {log}")
    return str(json.loads(line)["address"])
