"""The displays of a long step: sparse lines in a pipe, a bar on a terminal, and names as they were written."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgec.commands import progress
from edgec.commands.progress import LiveProgress, PlainProgress
from edgec.events import ActionFinished, ActionStarted, Note, Progress

STARTED = ActionStarted("compile", "compile", "the recipe asks for q4_0")
# As the path of a text may be: neither markup nor an unmatched closing tag.
BRACKETS = "on texts/[old]/[/x].txt"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, at index 0."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_are_sparse(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    show = PlainProgress()
    show(STARTED)
    for done_mb in range(21):
        show(Progress("compile", done_mb * 1_000_000, 20_000_000, "bytes", "blk.0"))
        clock[0] += 1
    show(ActionFinished("compile", "compile", cached=False, wall_s=20.96))
    show.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "compile: the recipe asks for q4_0",
        "compile: 25 % (5.0/20.0 MB) blk.0",
        "compile: 50 % (10.0/20.0 MB) blk.0",
        "compile: 75 % (15.0/20.0 MB) blk.0",
        "compile: 100 % (20.0/20.0 MB) blk.0",
        "compile: done in 21.0 s",
    ]


def test_plain_lines_of_other_events(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    show = PlainProgress()
    show(ActionFinished("prove", "prove", cached=True, wall_s=0.0))
    show(Note("a small text"))
    show(Note("no key", level="warning"))
    # Nothing to do is not a division by zero.
    show(Progress("fetch", 0, 0, "tokens"))
    clock[0] += 6
    show(Progress("fetch", 0, 0, "tokens"))
    assert capsys.readouterr().err.splitlines() == [
        "prove: cached",
        "info: a small text",
        "warning: no key",
        "fetch: 0 % (0/0 tokens)",
    ]


def test_a_terminal_shows_names_as_they_are_written() -> None:
    screen = io.StringIO()
    show = LiveProgress(Console(file=screen, force_terminal=True, width=120, color_system=None))
    show(ActionStarted(f"prove {BRACKETS}", "prove", f"compare {BRACKETS}"))
    show(Progress(f"prove {BRACKETS}", 5, 10, "tokens", f"at {BRACKETS}"))
    show(Note(f"a note {BRACKETS}", level="warning"))
    show(ActionFinished(f"prove {BRACKETS}", "prove", cached=False, wall_s=1.25))
    show(ActionFinished("bundle", "bundle", cached=True, wall_s=0.0))
    show.close()
    shown = screen.getvalue()
    for text in (f"compare {BRACKETS}", f"a note {BRACKETS}", f"✓ prove {BRACKETS}  1.2 s", "✓ bundle  cached"):
        assert text in shown


def test_a_bar_has_amount_and_rate(clock: list[float]) -> None:
    screen = io.StringIO()
    show = LiveProgress(Console(file=screen, force_terminal=True, width=120, color_system=None))
    show(Progress("compile", 0, 20_000_000_000, "bytes", BRACKETS))
    clock[0] += 10
    show(Progress("compile", 5_000_000_000, 20_000_000_000, "bytes", BRACKETS))
    show.close()
    shown = screen.getvalue()
    for text in ("compile", "5000.0/20000.0 MB", "0.50 GB/s", "[old]"):
        assert text in shown
