"""The parent's side of a worker: start it, exchange JSON lines before a deadline, end it, say why it died.

Rule: nothing here can wait for ever; a worker that is late, garbled or gone is killed and becomes one ToolError.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edgec.errors import ToolError

_LOG_LINES = 20
_MAX_REPLY_BYTES = 256 << 20
# What the child needs from its surroundings; nothing else is handed down.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")

_SETTINGS = {
    # Without it abort() starts a debugger to print a backtrace, which can hang.
    "GGML_NO_BACKTRACE": "1",
    # llama.cpp's threads wait for each other after every operation. Spinning while another process needs the cores
    # makes it several times slower; sleeping costs little on an idle machine.
    "OMP_WAIT_POLICY": "PASSIVE",
}


class Channel:
    """A running worker. `log` receives everything it prints."""

    def __init__(self, module: str, arguments: list[str], *, pass_fds: tuple[int, ...], log: Path) -> None:
        self._log = log
        self._pending = b""
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= _SETTINGS
        with log.open("wb") as errors:
            self._process = subprocess.Popen(  # noqa: S603  # our own interpreter and module, no shell
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                pass_fds=pass_fds,
                process_group=0,
            )
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None  # noqa: S101  # both are pipes
            os.set_blocking(stream.fileno(), False)

    @property
    def pid(self) -> int:
        """Process id of the worker, and of its group."""
        return self._process.pid

    def ask(self, command: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Sends a command and returns the reply's `ok`. Raises ToolError: refused, crashed, late or garbled."""
        deadline = time.monotonic() + timeout_s
        self._send(json.dumps(command).encode() + b"\n", deadline, timeout_s)
        line = self._receive(deadline, timeout_s)
        try:
            reply = json.loads(line)
        except ValueError:
            raise self._dead(f"the llama.cpp process sent what is no reply: {line[:80]!r}") from None
        if isinstance(reply, dict) and isinstance(reply.get("ok"), dict):
            return dict(reply["ok"])
        if isinstance(reply, dict) and isinstance(reply.get("error"), str):
            raise self._error(reply["error"], reply.get("hint"), reply.get("place"))
        raise self._dead(f"the llama.cpp process sent what is no reply: {line[:80]!r}")

    def kill(self) -> None:
        """Ends the worker and all it started, at once; again does nothing."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def _send(self, data: bytes, deadline: float, timeout_s: float) -> None:
        assert self._process.stdin is not None  # noqa: S101
        descriptor = self._process.stdin.fileno()
        while data:
            self._wait(descriptor, selectors.EVENT_WRITE, deadline, timeout_s)
            try:
                data = data[os.write(descriptor, data) :]
            except BrokenPipeError:
                raise self._dead(None) from None

    def _receive(self, deadline: float, timeout_s: float) -> bytes:
        assert self._process.stdout is not None  # noqa: S101
        descriptor = self._process.stdout.fileno()
        pieces = [self._pending]
        size = len(self._pending)
        while b"\n" not in pieces[-1]:
            self._wait(descriptor, selectors.EVENT_READ, deadline, timeout_s)
            piece = os.read(descriptor, 1 << 20)
            if not piece:
                raise self._dead(None)
            pieces.append(piece)
            size += len(piece)
            if size > _MAX_REPLY_BYTES:
                raise self._dead("the llama.cpp process sent an endless reply")
        line, _, self._pending = b"".join(pieces).partition(b"\n")
        return line

    def _wait(self, descriptor: int, event: int, deadline: float, timeout_s: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise self._dead(f"the llama.cpp process gave no answer in {timeout_s:g} s and was ended")

    def _dead(self, message: str | None) -> ToolError:
        """Ends the worker and says how it ended; `message` None: it ended by itself."""
        if message is None:
            try:
                message = f"the llama.cpp process ended unexpectedly: {_ending(self._process.wait(timeout=5))}"
            except subprocess.TimeoutExpired:
                message = "the llama.cpp process closed its output"
        self.kill()
        return self._error(message, None, None)

    def _error(self, message: str, hint: str | None, place: str | None) -> ToolError:
        lines = self._log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
        tail = "".join(f"\n  {line}" for line in lines)
        return ToolError.of(
            f"{message}\nlast lines of its log:{tail}" if lines else message,
            hint=f"{hint + '; ' if hint else ''}the full log is {self._log}",
            place=place,
        )


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return "it was killed (SIGKILL; out of memory is the usual reason)"
    if code < 0:
        return f"it crashed ({signal.Signals(-code).name})"
    return f"exit code {code}"
