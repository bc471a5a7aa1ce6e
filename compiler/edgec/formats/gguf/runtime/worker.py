"""The child process that runs llama.cpp: JSON commands on standard input, JSON replies on standard output.

Rule: it may crash, but never outlives its parent and never writes a core dump; what llama.cpp prints goes to the log.
"""

from __future__ import annotations

import ctypes as c
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgec.errors import EdgecError, ToolError
from edgec.formats.gguf.runtime.activations import Collector
from edgec.formats.gguf.runtime.area import SharedArea
from edgec.formats.gguf.runtime.binding import load
from edgec.formats.gguf.runtime.session import Floats, Session, Settings

_PR_SET_PDEATHSIG = 1

Reply = dict[str, Any]
Commands = Mapping[str, Callable[..., Reply]]


class Worker:
    """Serves one session."""

    def __init__(self, area: SharedArea) -> None:
        self._area = area
        self._session: Session | None = None
        self._collector: Collector | None = None
        self._pieces: Iterator[Floats] = iter(())
        self.commands: dict[str, Callable[..., Reply]] = {
            "open": self.open,
            "tokenize": self.tokenize,
            "detokenize": self.detokenize,
            "logits": self.logits,
            "next": self.next,
            "embed": self.embed,
            "generate": self.generate,
            "collect": self.collect,
            "sums": self.sums,
        }

    def open(self, **settings: Any) -> Reply:
        """Loads the library and the model."""
        lib = load()
        wanted = Settings(**settings)
        self._collector = Collector(lib) if wanted.collect else None
        self._session = Session(lib, wanted, self._collector.on_node if self._collector else None)
        return self._session.info()

    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> Reply:
        """Token ids of a text."""
        return {"tokens": self._opened.tokenize(text, add_special, parse_special)}

    def detokenize(self, tokens: list[int]) -> Reply:
        """Bytes of tokens, in hexadecimal."""
        return {"hex": self._opened.detokenize(tokens).hex()}

    def logits(self, tokens: list[int], first: int) -> Reply:
        """Starts a window; the reply announces its first piece."""
        self._pieces = self._opened.logits(tokens, first)
        return self.next()

    def next(self) -> Reply:
        """The next piece of the window's logits; no rows when there is none left."""
        piece = next(self._pieces, None)
        if piece is None:
            return {"rows": 0}
        return {"rows": piece.shape[0], "bytes": self._area.put(piece)}

    def embed(self, tokens: list[int]) -> Reply:
        """One text's embedding."""
        vector = self._opened.embed(tokens)
        return {"size": vector.size, "bytes": self._area.put(vector)}

    def generate(self, tokens: list[int], max_tokens: int) -> Reply:
        """Greedy continuation."""
        return {"tokens": self._opened.generate(tokens, max_tokens)}

    def collect(self, tokens: list[int]) -> Reply:
        """Runs one calibration chunk with the collector listening, every token's output computed."""
        collector = self._collecting
        for _ in self._opened.logits(tokens, 0):
            collector.check()
        return {}

    def sums(self, index: int) -> Reply:
        """Sums of squares of the collected tensor number `index` in sorted order."""
        entries = self._collecting.entries()
        if index >= len(entries):
            return {"name": None}
        name, entry = entries[index]
        return {"name": name, "rows": entry.rows, "size": entry.sums.size, "bytes": self._area.put(entry.sums)}

    @property
    def _opened(self) -> Session:
        if self._session is None:
            raise ToolError.of("no model is open")
        return self._session

    @property
    def _collecting(self) -> Collector:
        if self._collector is None:
            raise ToolError.of("the model was not opened for collecting")
        return self._collector


def answer(commands: Commands, line: bytes) -> Reply:
    """The reply to one command line."""
    command = json.loads(line)
    try:
        return {"ok": commands[command.pop("do")](**command)}
    except EdgecError as error:
        first = error.diagnostics[0]
        return {"error": first.message, "hint": first.hint, "place": first.place}


def serve_commands(commands: Commands, *, parent: int) -> None:
    """Answers the commands on standard input until it ends; `parent` is the process this one must not outlive."""
    _bind_to_parent(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # llama.cpp may print to standard output: replies go to a copy of it, and prints to the log.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        for line in sys.stdin.buffer:
            replies.write(json.dumps(answer(commands, line)).encode() + b"\n")
            replies.flush()


def _bind_to_parent(parent: int) -> None:
    """Ends this process with its parent, also in the middle of a computation (Linux; elsewhere at end of input)."""
    if sys.platform == "linux":
        c.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        raise SystemExit(1)


def main() -> None:
    """Entry point: `worker <parent process id> <descriptor of the shared area>`."""
    parent, descriptor = (int(argument) for argument in sys.argv[1:3])
    serve_commands(Worker(SharedArea(descriptor)).commands, parent=parent)


if __name__ == "__main__":
    main()
