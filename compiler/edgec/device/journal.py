"""How far the work on one engine is: one JSON line per state, each on the disk before the work goes on.

Rule: a line that power loss cut off counts as not written; the state is that of the last whole line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edgec.documents.canonical import canonical_json
from edgec.store.atomic import explained, fsync_folder

State = Literal["verified", "unpacked", "building", "built", "proven", "active"]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Entry:
    """A state that was reached. `data`: what was found on the way, for the states after it."""

    state: State
    data: Mapping[str, Any]


class Journal:
    """The journal in the file `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _read(path)

    @property
    def last(self) -> Entry | None:
        """The state that was reached last; None before the first."""
        return self._entries[-1] if self._entries else None

    def data(self, state: State) -> Mapping[str, Any]:
        """What was recorded when `state` was reached last."""
        return next((entry.data for entry in reversed(self._entries) if entry.state == state), {})

    def reach(self, state: State, data: Mapping[str, Any] | None = None) -> None:
        """Records a state, durably. Raises ToolError when the disk refuses."""
        entry = Entry(state, data or {})
        with explained(self._path):
            is_new = not self._path.exists()
            with self._path.open("r+b" if not is_new else "wb") as file:
                # A cut-off line must not grow into the new one.
                file.truncate(_whole_bytes(self._path))
                file.seek(0, os.SEEK_END)
                file.write(canonical_json({"state": state, "data": dict(entry.data)}) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                fsync_folder(self._path.parent)
        self._entries.append(entry)


def _read(path: Path) -> list[Entry]:
    try:
        text = path.read_bytes()
    except OSError:
        return []
    entries = []
    for line in text.splitlines(keepends=True):
        entry = _entry(line)
        if entry is None:
            break
        entries.append(entry)
    return entries


def _entry(line: bytes) -> Entry | None:
    try:
        found = json.loads(line) if line.endswith(b"\n") else {}
        if found["state"] in STATES and isinstance(found["data"], dict):
            return Entry(found["state"], found["data"])
    except (ValueError, KeyError, TypeError):
        return None
    return None


def _whole_bytes(path: Path) -> int:
    """The length of the lines that are whole."""
    length = 0
    for line in path.read_bytes().splitlines(keepends=True):
        if _entry(line) is None:
            break
        length += len(line)
    return length
