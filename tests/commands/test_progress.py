"""The displays of a long step: sparse lines in a pipe, a bar on a terminal, and names as they were written."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from edgec.commands import progress
from edgec.commands.progress import JsonProgress, LiveProgress, Pace, PlainProgress, rate_text, time_text
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
        "compile: 25 % (5.0/20.0 MB) 1.0 MB/s, 15 s left blk.0",
        "compile: 50 % (10.0/20.0 MB) 1.0 MB/s, 10 s left blk.0",
        "compile: 75 % (15.0/20.0 MB) 1.0 MB/s, 5 s left blk.0",
        "compile: 100 % (20.0/20.0 MB) 1.0 MB/s, 0 s left blk.0",
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
    for text in ("compile", "5000.0/20000.0 MB", "0.50 GB/s", "30 s left", "[old]"):
        assert text in shown


def test_json_has_rate_and_time_left_at_most_once_a_second(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    show = JsonProgress()
    show(STARTED)
    for tenth in range(41):
        show(Progress("compile", 10_000_000 + tenth * 50_000_000, 2_010_000_000, "bytes", "blk.0"))
        clock[0] += 0.1
    show(ActionFinished("compile", "compile", cached=False, wall_s=4.1))
    show(Note("a note"))
    show.close()
    first, *progress, finished, note = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"event": "action_started", "action": "compile", "kind": "compile", "reason": STARTED.reason}
    assert [p["done"] for p in progress] == pytest.approx([5.1e8, 1.01e9, 1.51e9, 2.01e9], rel=0.2)
    assert [p["rate_per_s"] for p in progress] == pytest.approx([5e8] * len(progress))
    assert [p["eta_s"] for p in progress] == pytest.approx([(2.01e9 - p["done"]) / 5e8 for p in progress], abs=0.1)
    assert progress[-1]["done"] == progress[-1]["total"]
    assert set(progress[0]) == {"event", "action", "done", "total", "unit", "detail", "rate_per_s", "eta_s"}
    assert finished == {
        "event": "action_finished",
        "action": "compile",
        "kind": "compile",
        "cached": False,
        "wall_s": 4.1,
    }
    assert note["message"] == "a note"


def _pace(*samples: tuple[float, int], total: int = 1000) -> Pace:
    pace = Pace()
    for now_s, done in samples:
        pace.add(now_s, Progress("a", done, total, "bytes"))
    return pace


def test_what_stood_there_already_is_not_counted_as_speed() -> None:
    pace = _pace((0.0, 900), (10.0, 950))
    assert (pace.rate_per_s, pace.eta_s) == (5.0, 10.0)


def test_the_rate_follows_the_last_half_minute() -> None:
    quick = [(float(t), 100 * t) for t in range(100)]
    slow = [(100.0 + t, 10_000 + t) for t in range(40)]
    assert _pace(*quick, total=20_000).rate_per_s == 100
    assert _pace(*quick, *slow, total=20_000).rate_per_s == 1


def test_nothing_is_said_of_the_speed_before_there_is_one() -> None:
    for pace in (_pace(), _pace((0.0, 10)), _pace((0.0, 10), (5.0, 10)), _pace((1.0, 10), (1.0, 20))):
        assert (pace.rate_per_s, pace.eta_s) == (None, None)


def test_a_late_event_is_dropped_and_the_next_file_begins_anew() -> None:
    pace = _pace((0.0, 100), (1.0, 200))
    assert not pace.add(2.0, Progress("a", 150, 1000, "bytes"))
    assert pace.rate_per_s == 100
    assert pace.add(3.0, Progress("a", 1000, 1000, "bytes"))
    assert pace.add(4.0, Progress("a", 10, 1000, "bytes"))
    assert pace.add(5.0, Progress("a", 20, 1000, "bytes"))
    assert pace.rate_per_s == 10


@pytest.mark.parametrize(
    ("rate_per_s", "unit", "text"),
    [
        (1.234e9, "bytes", "1.23 GB/s"),
        (1.5e8, "bytes", "0.15 GB/s"),
        (4.56e6, "bytes", "4.6 MB/s"),
        (12.345, "tokens", "12.3 tokens/s"),
        (12345.6, "tokens", "12346 tokens/s"),
        (None, "bytes", ""),
    ],
)
def test_rates_for_people(rate_per_s: float | None, unit: str, text: str) -> None:
    assert rate_text(rate_per_s, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s left"),
        (59.6, "1 min 00 s left"),
        (3599.0, "59 min 59 s left"),
        (7500.0, "2 h 05 min left"),
        (None, ""),
    ],
)
def test_times_for_people(seconds: float | None, text: str) -> None:
    assert time_text(seconds) == text
