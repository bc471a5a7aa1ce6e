"""Remembers which folder or file was written for which action key, so that an unchanged bundle is not written again.

Rule: it counts only while it holds the files and folders it held when it was written, each file with the same size,
times and inode. The bytes are not read again: `edgec verify` does that.
"""

from __future__ import annotations

import json
import os
import stat
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
            if record["key"] == key and _same(record["stamps"], _stamps(destination)):
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


def _stamps(destination: Path) -> dict[str, list[int | None]]:
    """A stamp of `destination` and of everything below it, by relative path."""
    root = destination.resolve()
    return {str(path.relative_to(root)): _stamp(path.lstat()) for path in (root, *sorted(root.rglob("*")))}


def _stamp(status: os.stat_result) -> list[int | None]:
    """Kind, and for anything but a folder: size in bytes, modification time (ns), inode, change time (ns)."""
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        return [kind]
    # No program can set the change time. But a new link to a stored file, or one less, changes it for all of them:
    # another bundle with the same weights, or `edgec clean`, must not make this one look changed.
    changed_ns = status.st_ctime_ns if status.st_nlink == 1 else None
    return [kind, status.st_size, status.st_mtime_ns, status.st_ino, changed_ns]


def _same(old: Mapping[str, Any], new: Mapping[str, list[int | None]]) -> bool:
    def alike(a: list[int | None], b: list[int | None]) -> bool:
        return a[:4] == b[:4] and (a[4:] == b[4:] or None in {*a[4:], *b[4:]})

    return old.keys() == new.keys() and all(alike(old[name], new[name]) for name in new)
