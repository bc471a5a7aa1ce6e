"""Runs external tools to their end: no shell, a process group of its own, a time limit, the whole output in a log.

Rule: an exit code of 0 is not success; callers check what the tool had to make.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, BinaryIO

from edgec.errors import Diagnostic, ToolError
from edgec.toolchain.last_words import cause_of, plain_lines, tail_of
from edgec.toolchain.memory import oom_kills

# What shells, containers and wrappers exit with after SIGKILL of what they ran.
_WRAPPED = 128
_KILLED_BELOW = _WRAPPED + signal.SIGKILL
# What a program's own fault ends it with; any other signal was sent to it.
_CRASHES = frozenset(
    (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS)
)
_SIGNALS = frozenset(signal.Signals)
# What Python, C++ and torch say when memory is refused them.
_NO_MEMORY = ("MemoryError", "std::bad_alloc", "can't allocate memory")


class ToolEndedError(ToolError):
    """A tool that ran and did not end well. `code`: its exit code, negative for a signal, None when it hung.

    `memory`: what tells that memory ran out, as the end of a sentence; empty when nothing does.
    """

    def __init__(self, *diagnostics: Diagnostic, code: int | None = None, memory: str = "") -> None:
        super().__init__(*diagnostics)
        self.code = code
        self.memory = memory

    @property
    def from_outside(self) -> bool:
        """Whether it was ended, by a person, the kernel or the time limit: then its end says nothing of its input."""
        if self.code is None or self.memory:
            return True
        number = -self.code if self.code < 0 else self.code - _WRAPPED
        return number in _SIGNALS and number not in _CRASHES


def run_tool(
    arguments: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    env: Mapping[str, str],
    request: IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
    append: bool = False,
    name: str | None = None,
) -> str:
    """Runs a tool and returns its output. Raises ToolError: missing, failed (with the end of its output), or hung.

    `request`: a file that is its standard input; `pass_fds`: descriptors it inherits; `append`: the log goes on;
    `name`: what messages call it, by default the program's.
    """
    kills, name = oom_kills(), name or Path(arguments[0]).name
    with _opened(log, append=append) as sink:
        begin = sink.tell()
        child = _start(arguments, sink, env, request, pass_fds)
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise _failed(name, log, begin, f"did not end within {timeout_s:.0f} s") from None
        finally:
            # Also on ^C: nothing a tool started outlives the step.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if code != 0:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        raise _failed(name, log, begin, how, code=code, blame=_blame(code, kills))
    return _output(log, begin)


def _opened(log: Path, *, append: bool) -> BinaryIO:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        sink = log.open("ab" if append else "wb")
    except OSError as error:
        raise ToolError.of(
            f"the log cannot be written: {error.strerror}",
            place=str(log),
            hint="set EDGEC_CACHE to a folder you may write to",
        ) from error
    sink.seek(0, os.SEEK_END)
    return sink


def _start(
    arguments: Sequence[str],
    sink: BinaryIO,
    env: Mapping[str, str],
    request: IO[bytes] | None,
    pass_fds: Sequence[int],
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - the caller's own argument list, no shell
            list(arguments), stdin=request or subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env=dict(env),
            start_new_session=True, pass_fds=tuple(pass_fds),
        )  # fmt: skip
    except OSError as error:
        raise ToolError.of(
            f"{arguments[0]} cannot be started: {error.strerror}", hint="install it, or check its permissions"
        ) from error


def _blame(code: int, kills_before: int | None) -> str:
    """What is known of the kernel's part in a tool's end."""
    kills = oom_kills()
    if kills is not None and kills_before is not None and kills > kills_before:
        return "; the kernel ended a process meanwhile, because memory ran out"
    if code == -signal.SIGKILL:
        return ", which the kernel does when memory runs out"
    if code == _KILLED_BELOW:
        return ", as when a process it started is killed, which the kernel does when memory runs out"
    return ""


def _output(log: Path, begin: int) -> str:
    return log.read_bytes()[begin:].decode("utf-8", errors="replace")


def _failed(name: str, log: Path, begin: int, how: str, *, code: int | None = None, blame: str = "") -> ToolEndedError:
    output = plain_lines(_output(log, begin))
    lines, cause = tail_of(output), cause_of(output) if code is not None and code > 0 else ""
    if not blame and code is not None and any(word in line for line in lines for word in _NO_MEMORY):
        blame = ": it did not get the memory that it asked for"
    tail = "".join(f"\n  | {line}" for line in lines)
    message = f"{name} {how}{blame}{cause and f': {cause}'}{tail}"
    diagnostic = Diagnostic(message, hint=f"the whole output is in {log}")
    return ToolEndedError(diagnostic, code=code, memory=blame)
