"""A Dify plugin that runs, spoken to as Dify's daemon does: JSON lines over its standard input and output.

Rule: nothing is waited for without a limit, and nothing that a plugin started outlives `running`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from edgec.errors import ToolError
from edgec.toolchain.surroundings import for_tool

_KEEPER = Path(__file__).parent / "inside" / "dify_keeper.py"
_START_TIMEOUT_S = 60.0
# The group is dead by then: only what left it can still hold the output.
_DRAIN_S = 5.0
_TAIL_LINES = 20
# Instead of a reply: the plugin has closed its output.
_ENDED = None

Message = dict[str, Any]


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of edgec's
    """An action that the plugin answered with an error. `kind`: the name of the SDK's error class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


class PluginProcess:
    """A plugin in its process. `manifest`: its own, as it sent it at the start."""

    def __init__(self, child: subprocess.Popen[bytes], provider: str, log: Path) -> None:
        self._child = child
        self._provider = provider
        self._log = log
        self._lock = threading.Lock()
        self._sessions: dict[str, queue.Queue[Message | None]] = {}
        self._started: queue.Queue[Message | None] = queue.Queue()
        self._is_over = False
        self._reader = threading.Thread(target=self._read, name="plugin", daemon=True)
        self._reader.start()
        self.manifest: Message = {}

    @property
    def group(self) -> int:
        """The process group of the plugin and what it starts."""
        return self._child.pid

    def call(self, action: str, *, timeout_s: float = 60.0, **data: Any) -> Iterator[Any]:
        """The data of each reply to a model action, as it comes. Raises Refusal, and ToolError when it dies or hangs.

        `data`: the fields of the SDK's request for the action, but for those every request has. `timeout_s`: for all.
        """
        session, replies = uuid.uuid4().hex, queue.Queue[Message | None]()
        with self._lock:
            self._sessions[session] = replies
            if self._is_over:
                replies.put(_ENDED)
        try:
            self._send(
                session, {"user_id": "edgec", "type": "model", "action": action, "provider": self._provider} | data
            )
            until = time.monotonic() + timeout_s
            while (reply := self._next(replies, until, f"the action {action}"))["type"] != "end":
                if reply["type"] == "error":
                    raise Refusal(str(reply["data"].get("error_type")), str(reply["data"].get("message")))
                yield reply["data"]
        finally:
            with self._lock:
                del self._sessions[session]

    def ask(self, action: str, *, timeout_s: float = 60.0, **data: Any) -> Any:
        """The data of the only reply to a model action. Raises Refusal, ToolError."""
        replies = list(self.call(action, timeout_s=timeout_s, **data))
        if len(replies) != 1:
            raise ToolError.of(f"the plugin gave {len(replies)} replies to the action {action}, not one")
        return replies[0]

    def _send(self, session: str, data: Message) -> None:
        request = {
            "session_id": session, "event": "request", "conversation_id": None, "message_id": None, "app_id": None,
            "endpoint_id": None, "context": {}, "data": data,
        }  # fmt: skip
        assert self._child.stdin is not None  # noqa: S101 - it was started with a pipe
        try:
            self._child.stdin.write(json.dumps(request).encode() + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            raise self._died("before it could be asked") from error

    def wait_until_ready(self) -> None:
        """Waits for the manifest and the first heartbeat. Raises ToolError."""
        until = time.monotonic() + _START_TIMEOUT_S
        self.manifest = self._next(self._started, until, "the plugin to start")
        self._next(self._started, until, "the plugin's first heartbeat")

    def wait_until_over(self) -> None:
        """Waits until nobody holds the plugin's output any more, after it was killed."""
        self._reader.join(_DRAIN_S)

    def _next(self, replies: queue.Queue[Message | None], until: float, what: str) -> Message:
        try:
            reply = replies.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            raise ToolError.of(f"waited too long for {what}", hint=f"the plugin's output is in {self._log}") from None
        if reply is _ENDED:
            replies.put(_ENDED)
            raise self._died(f"while edgec waited for {what}")
        return reply

    def _died(self, when: str) -> ToolError:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        tail = "".join(f"\n  | {line}" for line in lines)
        return ToolError.of(f"the plugin ended {when}{tail}", hint=f"its whole output is in {self._log}")

    def _read(self) -> None:
        """Takes the plugin's lines apart until its end, in a thread of its own."""
        assert self._child.stdout is not None  # noqa: S101 - it was started with a pipe
        with self._child.stdout as lines:
            for line in lines:
                self._take(line)
        with self._lock:
            self._is_over = True
            for replies in (self._started, *self._sessions.values()):
                replies.put(_ENDED)

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return  # a print; the daemon passes over it as well
        match message:
            case {"event": "session", "session_id": str(session), "data": dict(data)}:
                with self._lock:
                    replies = self._sessions.get(session)
                if replies is not None:
                    replies.put(data)
            case {"event": "heartbeat"} | {"version": _, "author": _}:
                self._started.put(message)
            case _:
                pass  # the SDK's own log


@contextlib.contextmanager
def running(
    python: Path, folder: Path, *, provider: str, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[PluginProcess]:
    """The plugin unpacked in `folder`, run by an environment's Python. Raises ToolError when it does not get ready."""
    variables = {**for_tool(os.environ, str(python.parent)), "PYTHONDONTWRITEBYTECODE": "1", "INSTALL_METHOD": "local"}
    child_end, own_end = os.pipe()
    try:
        with log.open("wb") as sink:
            child = _start(
                [str(python), "-I", str(_KEEPER), str(child_end)], folder, sink, {**variables, **(env or {})}, child_end
            )
        plugin = PluginProcess(child, provider, log)
        try:
            plugin.wait_until_ready()
            yield plugin
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            plugin.wait_until_over()
            _close(child.stdin)
    finally:
        os.close(child_end)
        os.close(own_end)


def _start(
    arguments: list[str], folder: Path, sink: IO[bytes], env: Mapping[str, str], lifeline: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - the caller's own argument list, no shell
            arguments, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, env=env,
            start_new_session=True, pass_fds=(lifeline,),
        )  # fmt: skip
    except OSError as error:
        raise ToolError.of(
            f"{arguments[0]} cannot be started: {error.strerror}", hint="install the toolchain again"
        ) from error


def _close(stdin: IO[bytes] | None) -> None:
    if stdin is not None:
        # What was not taken by a plugin that is dead cannot be flushed.
        with contextlib.suppress(OSError):
            stdin.close()
