"""Three displays of the same events: a live bar on a terminal, sparse plain lines elsewhere, JSON lines for programs.

Rule: all three tell the same rate and time left. The first two speak on standard error.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from collections import deque

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from edgec import events

_LINE_EVERY_S = 5.0
_JSON_EVERY_S = 1.0
_BAR_EVERY_S = 0.1
# The rate is taken over the last half minute, so that the time left follows a machine that gets busy.
_WINDOW_S = 30.0
_SAMPLE_EVERY_S = 0.5


class Pace:
    """How quickly one action goes, in its unit per second. What an earlier run had done does not count."""

    def __init__(self) -> None:
        # Moments and what was done by then.
        self._samples: deque[tuple[float, int]] = deque()
        self._total = 0

    def add(self, now_s: float, event: events.Progress) -> bool:
        """Take an event; False for one that comes late, as those of several threads may."""
        self._total = event.total
        if self._samples and event.done < self._samples[-1][1]:
            if self._samples[-1][1] < event.total:
                return False
            # After its end the action begins anew: the next file, say.
            self._samples.clear()
        # The newest sample moves until it is old enough to stay.
        if len(self._samples) > 1 and now_s - self._samples[-2][0] < _SAMPLE_EVERY_S:
            self._samples.pop()
        self._samples.append((now_s, event.done))
        while len(self._samples) > 2 and now_s - self._samples[1][0] >= _WINDOW_S:
            self._samples.popleft()
        return True

    @property
    def rate_per_s(self) -> float | None:
        """Units per second, or None before anything can be said."""
        if len(self._samples) < 2:
            return None
        (begin_s, before), (now_s, done) = self._samples[0], self._samples[-1]
        return (done - before) / (now_s - begin_s) if now_s > begin_s and done > before else None

    @property
    def eta_s(self) -> float | None:
        """Seconds left, or None before anything can be said."""
        rate = self.rate_per_s
        return None if rate is None else (self._total - self._samples[-1][1]) / rate


class _Paces:
    """The paces of the actions that run, and how often each may be shown."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._paces: dict[str, Pace] = {}
        self._shown: dict[str, float] = {}

    def start(self, action: str) -> None:
        """From now on the time until the action may be shown counts."""
        self._shown[action] = time.monotonic()

    def add(self, event: events.Progress, *, always_last: bool) -> Pace | None:
        """The pace of the event's action if the event is to be shown."""
        now_s = time.monotonic()
        pace = self._paces.setdefault(event.action, Pace())
        if not pace.add(now_s, event):
            return None
        is_last = always_last and event.done >= event.total
        if now_s - self._shown.setdefault(event.action, now_s) < self._every_s and not is_last:
            return None
        self._shown[event.action] = now_s
        return pace

    def end(self, action: str) -> None:
        """Forget an action."""
        self._paces.pop(action, None)
        self._shown.pop(action, None)


def _amount(done: int, total: int, unit: str) -> str:
    if unit == "bytes":
        return f"{done / 1e6:.1f}/{total / 1e6:.1f} MB"
    return f"{done}/{total} {unit}"


def rate_text(rate_per_s: float | None, unit: str) -> str:
    """A rate for people, or nothing."""
    if rate_per_s is None:
        return ""
    if unit != "bytes":
        return f"{rate_per_s:.3g} {unit}/s" if rate_per_s < 1000 else f"{rate_per_s:.0f} {unit}/s"
    return f"{rate_per_s / 1e9:.2f} GB/s" if rate_per_s >= 1e8 else f"{rate_per_s / 1e6:.1f} MB/s"


def time_text(seconds: float | None) -> str:
    """The time left for people, or nothing."""
    if seconds is None:
        return ""
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min left"
    return f"{minutes} min {rest_s:02d} s left" if minutes else f"{rest_s} s left"


class LiveProgress:
    """A bar per running action, with rate and estimated time left. `console`: by default standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[amount]}"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._paces = _Paces(_BAR_EVERY_S)
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
        is_new = event.action not in self._tasks
        if is_new:
            self._tasks[event.action] = self._bar.add_task(
                event.action, total=event.total, amount="", rate="", left="", detail=""
            )
        pace = self._paces.add(event, always_last=True)
        if pace is None and not is_new:
            return
        self._bar.update(
            self._tasks[event.action],
            completed=event.done,
            total=event.total,
            amount=_amount(event.done, event.total, event.unit),
            rate="" if pace is None else rate_text(pace.rate_per_s, event.unit),
            left="" if pace is None else time_text(pace.eta_s),
            detail=event.detail,
        )

    def _end(self, event: events.ActionFinished) -> None:
        self._paces.end(event.action)
        if event.action in self._tasks:
            self._bar.remove_task(self._tasks.pop(event.action))
        state = "cached" if event.cached else f"{event.wall_s:.1f} s"
        self._console.print(f"[green]✓[/green] {escape(event.action)}  [dim]{state}[/dim]", highlight=False)

    def close(self) -> None:
        """Removes the bar."""
        self._bar.stop()


class PlainProgress:
    """One line when an action starts and ends, and at most one every few seconds between."""

    def __init__(self) -> None:
        self._paces = _Paces(_LINE_EVERY_S)
        self._lock = threading.Lock()

    def __call__(self, event: events.Event, /) -> None:
        with self._lock:
            line = self._line(event)
            if line is not None:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()

    def _line(self, event: events.Event) -> str | None:
        match event:
            case events.ActionStarted():
                self._paces.start(event.action)
                return f"{event.action}: {event.reason}"
            case events.Progress():
                pace = self._paces.add(event, always_last=False)
                return None if pace is None else _progress_line(event, pace)
            case events.ActionFinished():
                self._paces.end(event.action)
                return f"{event.action}: " + ("cached" if event.cached else f"done in {event.wall_s:.1f} s")
            case events.Note():
                return f"{event.level}: {event.message}"

    def close(self) -> None:
        """Nothing to remove."""


def _progress_line(event: events.Progress, pace: Pace) -> str:
    percent = 100 * event.done // max(1, event.total)
    amount = _amount(event.done, event.total, event.unit)
    speed = ", ".join(filter(None, (rate_text(pace.rate_per_s, event.unit), time_text(pace.eta_s))))
    return " ".join(filter(None, (f"{event.action}: {percent} % ({amount})", speed, event.detail)))


class JsonProgress:
    """One JSON object per event on standard output; of each action's progress at most one a second, and its end.

    Progress has two more fields: `rate_per_s` (in `unit` per second) and `eta_s`, null before anything can be said.
    """

    def __init__(self) -> None:
        self._paces = _Paces(_JSON_EVERY_S)
        self._lock = threading.Lock()

    def __call__(self, event: events.Event, /) -> None:
        with self._lock:
            extra: dict[str, float | None] = {}
            if isinstance(event, events.Progress):
                pace = self._paces.add(event, always_last=True)
                if pace is None:
                    return
                extra = {"rate_per_s": _rounded(pace.rate_per_s), "eta_s": _rounded(pace.eta_s)}
            elif isinstance(event, events.ActionFinished):
                self._paces.end(event.action)
            fields = {"event": _snake_case(type(event).__name__), **dataclasses.asdict(event), **extra}
            sys.stdout.write(json.dumps(fields, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def close(self) -> None:
        """Nothing to remove."""


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _snake_case(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
