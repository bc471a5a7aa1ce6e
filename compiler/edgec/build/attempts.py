"""The routes that were tried, as a step's facts keep them and as people are told while it runs.

Rule: measured times, and folders of this machine, are told and never kept: what is kept is signed, and two builds of
one recipe must not differ.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from edgec.events import Note, Reporter
from edgec.formats.candidates import Candidate
from edgec.prove.model import Attempt

_FOLDERS = re.compile(r"(?<![\w.~])/(?:[^\s/'\":]+/)+")


def kept_attempts(
    action: str, tried: Sequence[Candidate], chosen: Candidate, *, has_choice: bool, report: Reporter
) -> list[dict[str, Any]]:
    """The attempts as JSON. Where there was a choice, its outcome is reported, with what each route took."""
    if has_choice:
        for candidate in tried:
            took = candidate.time_share
            time = "" if took is None else f", {took:.2f} of the float32 graph's CPU time"
            report(Note(f"{action}: {candidate}{time}{'; chosen' if candidate is chosen else ''}"))
    return [_attempt(c, is_chosen=c is chosen).model_dump(mode="json") for c in tried]


def _attempt(candidate: Candidate, *, is_chosen: bool) -> Attempt:
    fields = asdict(candidate)
    del fields["time_share"]
    if candidate.failed is not None:
        fields["failed"] = _FOLDERS.sub("", candidate.failed.partition("\n")[0])
    return Attempt(chosen=is_chosen, **fields)
