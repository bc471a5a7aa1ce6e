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
from typing import BinaryIO

from edgec.errors import ToolError

_TAIL_LINES = 20


def run_tool(arguments: Sequence[str], *, log: Path, timeout_s: float, env: Mapping[str, str]) -> str:
    """Runs a tool and returns its output. Raises ToolError: missing, failed (with the end of its output), or hung."""
    with _opened(log) as sink:
        child = _start(arguments, sink, env)
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise _failed(arguments, log, f"did not end within {timeout_s:.0f} s") from None
        finally:
            # Also on ^C: nothing a tool started outlives the step.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    if code != 0:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        raise _failed(arguments, log, how)
    return log.read_text(encoding="utf-8", errors="replace")


def _opened(log: Path) -> BinaryIO:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return log.open("wb")
    except OSError as error:
        raise ToolError.of(
            f"the log cannot be written: {error.strerror}",
            place=str(log),
            hint="set EDGEC_CACHE to a folder you may write to",
        ) from error


def _start(arguments: Sequence[str], sink: BinaryIO, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - the caller's own argument list, no shell
            list(arguments), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env=dict(env),
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ToolError.of(
            f"{arguments[0]} cannot be started: {error.strerror}", hint="install it, or check its permissions"
        ) from error


def _failed(arguments: Sequence[str], log: Path, how: str) -> ToolError:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    tail = "".join(f"\n  | {line}" for line in lines)
    return ToolError.of(f"{Path(arguments[0]).name} {how}{tail}", hint=f"the whole output is in {log}")
