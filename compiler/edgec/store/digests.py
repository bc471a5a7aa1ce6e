"""Digests of files that were hashed before, so that nothing-changed builds do not read a model again.

Rule: a remembered digest holds only while size, modification time and inode are the same, and never for a file that
was modified within two seconds before it was hashed (a later write could keep the same time stamp). Where nothing can
be written, nothing is remembered.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from edgec.documents.canonical import canonical_json, sha256_bytes, sha256_file
from edgec.errors import ToolError
from edgec.store.atomic import write_file

_RACY_NS = 2_000_000_000


@dataclass(frozen=True)
class DigestCache:
    """Remembered digests under `root`. Callable: `cache(path) -> "sha256:<hex>"`."""

    root: Path

    def __call__(self, path: Path) -> str:
        """The digest of `path`, from memory when the file is provably the one hashed before."""
        resolved = path.resolve()
        entry = self.root / (sha256_bytes(os.fsencode(resolved)).removeprefix("sha256:") + ".json")
        stamp = _stamp(resolved)
        if (known := _read(entry, stamp)) is not None:
            return known
        hashed_at_ns = time.time_ns()
        digest = sha256_file(resolved)
        if _stamp(resolved) == stamp and hashed_at_ns - stamp[1] > _RACY_NS:
            # Without the note (a read-only cache, a full disk) the file is only hashed once more.
            with contextlib.suppress(ToolError):
                write_file(entry, canonical_json({"stamp": list(stamp), "digest": digest}))
        return digest


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns, status.st_ino)


def _read(entry: Path, stamp: tuple[int, int, int]) -> str | None:
    try:
        known = json.loads(entry.read_bytes())
        if known["stamp"] == list(stamp):
            return str(known["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        # A missing or damaged note only costs one more hash.
        return None
    return None
