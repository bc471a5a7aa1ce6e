"""Starts Python programs by `inside/host.py`, and talks with them: a request, replies line by line, a lifeline.

Rule: the child holds one end of a pipe whose other end only edgec holds, so that it never outlives edgec.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgec.toolchain.process import run_tool

_HOST = Path(__file__).parent / "inside" / "host.py"
# The group is dead by then: only what left it can still hold the line.
_DRAIN_S = 5.0


def run_module(
    python: Path, arguments: Sequence[str], *, log: Path, timeout_s: float, env: Mapping[str, str], append: bool = False
) -> str:
    """Runs `python -m ARGUMENTS` and returns its output. Raises ToolError."""
    with lifeline() as line:
        return run_tool(
            [str(python), "-I", str(_HOST), "module", *arguments],
            name=f"`python -m {arguments[0]}`",
            log=log,
            timeout_s=timeout_s,
            env={**env, "EDGEC_LIFELINE_FD": str(line)},
            pass_fds=(line,),
            append=append,
        )


def run_script(
    python: Path,
    script: Path,
    request: Mapping[str, Any],
    *,
    on_line: Callable[[str], None],
    log: Path,
    timeout_s: float,
    env: Mapping[str, str],
    append: bool = False,
    launcher: Sequence[str] = (),
    name: str | None = None,
) -> None:
    """Runs a script on a request; `on_line` gets each line it replies, from another thread. Raises ToolError.

    `launcher`: the beginning of the command line, for a Python that this machine cannot run by itself; `name`:
    what messages call it.
    """
    with lifeline() as line, _replies(on_line) as replies, tempfile.TemporaryFile() as stdin:
        stdin.write(json.dumps(request, allow_nan=False).encode())
        stdin.seek(0)
        run_tool(
            [*launcher, str(python), "-I", str(_HOST), "script", str(script)],
            log=log,
            timeout_s=timeout_s,
            env={**env, "EDGEC_LIFELINE_FD": str(line), "EDGEC_REPLY_FD": str(replies)},
            request=stdin,
            pass_fds=(line, replies),
            append=append,
            name=name,
        )


def program_arguments(python: Path, arguments: Sequence[str]) -> list[str]:
    """The command line of a program that dies with edgec; it needs `EDGEC_LIFELINE_FD`: see `lifeline`."""
    return [str(python), "-I", str(_HOST), "program", *arguments]


@contextlib.contextmanager
def lifeline() -> Iterator[int]:
    """The child's end of a pipe that closes with this process; its number is to stand in `EDGEC_LIFELINE_FD`."""
    child, own = os.pipe()
    try:
        yield child
    finally:
        os.close(child)
        os.close(own)


@contextlib.contextmanager
def _replies(on_line: Callable[[str], None]) -> Iterator[int]:
    """The child's end of a pipe from which a thread reads lines until it closes."""
    own, child = os.pipe()
    file = os.fdopen(own, "r", encoding="utf-8", errors="replace")

    def read() -> None:
        with file:
            for line in file:
                on_line(line)

    reader = threading.Thread(target=read, name="replies", daemon=True)
    reader.start()
    try:
        yield child
    finally:
        os.close(child)
        reader.join(_DRAIN_S)
