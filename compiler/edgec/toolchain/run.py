"""Runs our scripts in a toolchain's environment: JSON in, JSON out, with progress, limits and a log.

Rule: without a result that parses there is no success, whatever the exit code.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgec.errors import Diagnostic
from edgec.events import Progress, Reporter, silent
from edgec.toolchain.dialogue import run_script
from edgec.toolchain.environment import Environment, in_use
from edgec.toolchain.memory import refuse_small_memory
from edgec.toolchain.process import ToolEndedError
from edgec.toolchain.surroundings import for_tool

_SHOWN_CHARS = 200


def run_json(
    environment: Environment,
    script: Path,
    request: Mapping[str, Any],
    *,
    timeout_s: float,
    log: Path,
    memory_mib: int | None = None,
    env: Mapping[str, str] | None = None,
    report: Reporter = silent,
) -> dict[str, Any]:
    """Runs `script`'s function `run(request, progress) -> dict` in the environment; returns its answer and `peak_mib`.

    `memory_mib`: what it will need (default: what the toolchain says); `env`: variables it gets besides.
    Raises ToolError: too little memory, died, hung, was killed, or gave no result; nothing it started lives on.
    """
    name = environment.toolchain.name
    need_mib = environment.toolchain.memory_mib if memory_mib is None else memory_mib
    refuse_small_memory(f"the toolchain `{name}`", need_mib)
    answer = Answer(f"{name}: {script.stem}", report)
    variables = {**for_tool(os.environ, str(environment.python.parent)), **(env or {})}
    with in_use(environment):
        run_script(
            environment.python,
            script,
            request,
            on_line=answer.take,
            log=log,
            timeout_s=timeout_s,
            env=variables,
            name=f"the toolchain `{name}` ({script.stem})",
        )
    result = answer.result(script, log)
    return {**result, "peak_mib": answer.peak_mib}


def _ended(message: str, hint: str) -> ToolEndedError:
    return ToolEndedError(Diagnostic(message, hint), code=0)


class Answer:
    """What a script has replied so far. `peak_mib`: its process's peak of memory, known with the result."""

    def __init__(self, action: str, report: Reporter) -> None:
        self._action = action
        self._report = report
        self._results: list[dict[str, Any]] = []
        self._garbage: str | None = None
        self.peak_mib = 0

    def take(self, line: str) -> None:
        """Takes one line, from the reading thread."""
        try:
            match json.loads(line):
                case {"progress": {"done": int(done), "total": int(total), "unit": str(unit), "detail": str(detail)}}:
                    self._report(Progress(self._action, done, total, unit, detail))
                case {"result": dict(result), "peak_mib": int(peak_mib)}:
                    self._results.append(result)
                    self.peak_mib = peak_mib
                case _:
                    self._garbage = self._garbage or line
        except ValueError:
            self._garbage = self._garbage or line

    def result(self, script: Path, log: Path) -> dict[str, Any]:
        """The one result. Raises ToolError."""
        hint = f"the whole output is in {log}"
        if self._garbage is not None:
            shown = self._garbage.strip()[:_SHOWN_CHARS]
            raise _ended(f"{script.name} answered what is no reply: {shown!r}", hint)
        if len(self._results) != 1:
            raise _ended(f"{script.name} ended without {'a' if not self._results else 'one'} result", hint)
        return self._results[0]
