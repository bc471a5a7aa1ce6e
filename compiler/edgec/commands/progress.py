"""Two displays of the same events: a live bar on a terminal, sparse plain lines elsewhere. Both on stderr."""

from __future__ import annotations

import sys
import threading
import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from edgec import events

_LINE_EVERY_S = 5.0


def _amount(done: int, total: int, unit: str) -> str:
    if unit == "bytes":
        return f"{done / 1e6:.1f}/{total / 1e6:.1f} MB"
    return f"{done}/{total} {unit}"


class LiveProgress:
    """A bar per running action, with rate and estimated time left. `console`: by default standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, tuple[TaskID, float]] = {}
        self._lock = threading.Lock()
        self._bar.start()

    def __call__(self, event: events.Event, /) -> None:
        with self._lock:
            match event:
                case events.ActionStarted():
                    # Reasons and details hold names that people wrote: `[...]` in them is no markup.
                    started = f"[bold]{escape(event.action)}[/bold]  [dim]{escape(event.reason)}[/dim]"
                    self._console.print(started, highlight=False)
                case events.Progress():
                    self._advance(event)
                case events.ActionFinished():
                    self._end(event)
                case events.Note():
                    style = "yellow" if event.level == "warning" else "dim"
                    self._console.print(event.message, style=style, highlight=False, markup=False)

    def _advance(self, event: events.Progress) -> None:
        if event.action not in self._tasks:
            task = self._bar.add_task(event.action, total=event.total, amount="", rate="", detail="")
            self._tasks[event.action] = (task, time.monotonic())
        task, started = self._tasks[event.action]
        elapsed_s = max(1e-3, time.monotonic() - started)
        rate = f"{event.done / elapsed_s / 1e9:.2f} GB/s" if event.unit == "bytes" else ""
        amount = _amount(event.done, event.total, event.unit)
        self._bar.update(task, completed=event.done, total=event.total, amount=amount, rate=rate, detail=event.detail)

    def _end(self, event: events.ActionFinished) -> None:
        if event.action in self._tasks:
            self._bar.remove_task(self._tasks.pop(event.action)[0])
        state = "cached" if event.cached else f"{event.wall_s:.1f} s"
        self._console.print(f"[green]✓[/green] {escape(event.action)}  [dim]{state}[/dim]", highlight=False)

    def close(self) -> None:
        """Removes the bar."""
        self._bar.stop()


class PlainProgress:
    """One line when an action starts and ends, and at most one every few seconds between."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, event: events.Event, /) -> None:
        line = self._line(event)
        if line is not None:
            with self._lock:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()

    def _line(self, event: events.Event) -> str | None:
        match event:
            case events.ActionStarted():
                self._last[event.action] = time.monotonic()
                return f"{event.action}: {event.reason}"
            case events.Progress():
                now = time.monotonic()
                if now - self._last.setdefault(event.action, now) < _LINE_EVERY_S:
                    return None
                self._last[event.action] = now
                percent = 100 * event.done // max(1, event.total)
                amount = _amount(event.done, event.total, event.unit)
                return f"{event.action}: {percent} % ({amount}) {event.detail}".rstrip()
            case events.ActionFinished():
                return f"{event.action}: " + ("cached" if event.cached else f"done in {event.wall_s:.1f} s")
            case events.Note():
                return f"{event.level}: {event.message}"

    def close(self) -> None:
        """Nothing to remove."""
