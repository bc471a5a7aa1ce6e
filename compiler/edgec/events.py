"""What a long step tells the person who waits: typed events, sent to one `Reporter`.

Rule: code below the command line never prints; it reports. The command line turns events into a progress bar, plain
lines or JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class ActionStarted:
    """An action begins. `cached` actions send `ActionFinished` only."""

    action: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """How far a step is. `done` and `total` are in `unit` (`bytes`, `tokens`, `tensors`)."""

    action: str
    done: int
    total: int
    unit: str
    detail: str = ""


@dataclass(frozen=True)
class ActionFinished:
    """An action ended. `cached`: its outputs stood in the store already."""

    action: str
    kind: str
    cached: bool
    wall_s: float


@dataclass(frozen=True)
class Note:
    """Something the person should know: `level` is `info` or `warning`."""

    message: str
    level: str = "info"


Event = ActionStarted | Progress | ActionFinished | Note


class Reporter(Protocol):
    """Receives events, from any thread; must be quick and must not raise."""

    def __call__(self, event: Event, /) -> None: ...


def silent(event: Event, /) -> None:
    """A reporter that shows nothing."""
