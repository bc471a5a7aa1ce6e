"""What is kept of the routes that were tried: nothing that another build would find otherwise."""

from __future__ import annotations

from edgec.build.attempts import kept_attempts
from edgec.events import Event, Note
from edgec.formats.candidates import Candidate


def test_times_and_folders_are_told_and_not_kept() -> None:
    told: list[Event] = []
    chosen = Candidate("weights", "weights alone", 10, 0.999, 0.998, time_share=0.59)
    failed = Candidate("static", "all", failed="Fail: Load model from /home/me/.cache/edgec/s/static/m.onnx failed")
    kept = kept_attempts("compile a", (failed, chosen), chosen, has_choice=True, report=told.append)
    assert [(a["name"], a["chosen"], a["failed"]) for a in kept] == [
        ("static", False, "Fail: Load model from m.onnx failed"), ("weights", True, None),
    ]  # fmt: skip
    assert all("time_share" not in a for a in kept)
    messages = [event.message for event in told if isinstance(event, Note)]
    assert messages[1].endswith("0.59 of the float32 graph's CPU time; chosen")
    assert "/home/me" in messages[0]


def test_a_scheme_of_one_route_is_not_told_as_a_choice() -> None:
    told: list[Event] = []
    only = Candidate("weights", "weights alone", 10)
    (kept,) = kept_attempts("compile a", (only,), only, has_choice=False, report=told.append)
    assert (kept["chosen"], told) == (True, [])
