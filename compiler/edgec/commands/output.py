"""How a command speaks: text and a progress bar, plain lines in a pipe, or JSON lines.

Rule: results go to standard output, everything else to standard error; with `--json` the last line has `event` set to
`result` or `error`.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import click

from edgec.commands.progress import JsonProgress, LiveProgress, PlainProgress
from edgec.events import Reporter, silent

P = ParamSpec("P")
R = TypeVar("R")


class Output:
    """Where one command's events and its result go."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._progress: LiveProgress | PlainProgress | JsonProgress | None = None

    @property
    def reporter(self) -> Reporter:
        """The reporter for this command's mode."""
        if self.quiet and not self.as_json:
            return silent
        if self._progress is None:
            self._progress = self._display()
        return self._progress

    def _display(self) -> LiveProgress | PlainProgress | JsonProgress:
        if self.as_json:
            return JsonProgress()
        return LiveProgress() if sys.stderr.isatty() else PlainProgress()

    def result(self, data: Mapping[str, Any], text: str) -> None:
        """Shows the result: `data` with `--json`, else `text` unless `--quiet`."""
        self.close()
        if self.as_json:
            _print_json({"event": "result", **data})
        elif not self.quiet:
            click.echo(text)

    def close(self) -> None:
        """Ends the progress display, if there is one."""
        if self._progress is not None:
            self._progress.close()
            self._progress = None


def _print_json(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, sort_keys=False, ensure_ascii=False))


def output_options(function: Callable[..., R]) -> Callable[..., R]:
    """Adds `--json` and `--quiet` and passes the `Output` as keyword `output`."""

    @click.option("--json", "as_json", is_flag=True, help="One JSON object per line: events, then the result or error.")
    @click.option("--quiet", "-q", is_flag=True, help="Only errors.")
    @functools.wraps(function)
    def wrapped(*args: Any, as_json: bool, quiet: bool, **kwargs: Any) -> R:
        output = Output(as_json=as_json, quiet=quiet)
        try:
            return function(*args, output=output, **kwargs)
        finally:
            output.close()

    return wrapped
