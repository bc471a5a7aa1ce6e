"""Remembers which folder or file was written for which action key, so that an unchanged bundle is not written again.

Rule: it counts only while every file of it has the size and modification time it had when it was written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.documents.canonical import canonical_json, sha256_bytes
from edgec.store.atomic import write_file


@dataclass(frozen=True)
class StandingFolders:
    """Records under `root`, one per destination."""

    root: Path

    def facts(self, destination: Path, key: str) -> Mapping[str, Any] | None:
        """What was recorded when `destination` was written for `key`, or None if it is not the same any more."""
        try:
            record = json.loads(self._entry(destination).read_bytes())
            if record["key"] == key and record["stamps"] == _stamps(destination):
                facts: dict[str, Any] = record["facts"]
                return facts
        except (OSError, ValueError, KeyError, TypeError):
            # Without a readable record the folder is simply written again.
            return None
        return None

    def remember(self, destination: Path, key: str, facts: Mapping[str, Any]) -> None:
        """Records that `destination` was written for `key`."""
        record = {"key": key, "stamps": _stamps(destination), "facts": dict(facts)}
        write_file(self._entry(destination), canonical_json(record))

    def _entry(self, destination: Path) -> Path:
        name = sha256_bytes(os.fsencode(destination.resolve())).removeprefix("sha256:")
        return self.root / f"{name}.json"


def _stamps(destination: Path) -> dict[str, list[int]]:
    """Size and modification time (ns) of every file under `destination`, or of the file itself, by relative path."""
    return {
        str(path.relative_to(destination)): [path.stat().st_size, path.stat().st_mtime_ns]
        for path in (destination, *sorted(destination.rglob("*")))
        if path.is_file()
    }
