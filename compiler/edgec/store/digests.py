"""Digests of files that were hashed before, so that nothing-changed builds do not read a model again.

Rule: a remembered digest holds only while size, modification time and inode are the same, and never for a file that
was modified within two seconds before it was hashed (a later write could keep the same time stamp). Where nothing can
be written, nothing is remembered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from edgec.documents.canonical import canonical_json, read_chunks, sha256_bytes
from edgec.errors import ToolError
from edgec.events import Progress, Reporter, silent
from edgec.store.atomic import write_file

_RACY_NS = 2_000_000_000
# Hashed at once, whoever asks: below a tenth of a second.
_SMALL_BYTES = 64 << 20
# Stands for the digest of a file nobody read yet; no result is ever stored under it.
NOT_HASHED = "sha256:not-hashed"


@dataclass(frozen=True)
class DigestCache:
    """Remembered digests under `root`. Callable: `cache(path) -> "sha256:<hex>"`; `report` hears of long hashing."""

    root: Path
    report: Reporter = silent

    def __call__(self, path: Path) -> str:
        """The digest of `path`, from memory when the file is provably the one hashed before."""
        resolved = path.resolve()
        if (known := self._remembered(resolved)) is not None:
            return known
        stamp = _stamp(resolved)
        hashed_at_ns = time.time_ns()
        digest = self._hash(resolved, stamp[0])
        if _stamp(resolved) == stamp and hashed_at_ns - stamp[1] > _RACY_NS:
            # Without the note (a read-only cache, a full disk) the file is only hashed once more.
            with contextlib.suppress(ToolError):
                write_file(self._entry(resolved), canonical_json({"stamp": list(stamp), "digest": digest}))
        return digest

    def peek(self, path: Path) -> str:
        """As calling it, but a large file that is not remembered is not read: then `NOT_HASHED`."""
        resolved = path.resolve()
        if (known := self._remembered(resolved)) is not None:
            return known
        return self(resolved) if resolved.stat().st_size <= _SMALL_BYTES else NOT_HASHED

    def _entry(self, resolved: Path) -> Path:
        return self.root / (sha256_bytes(os.fsencode(resolved)).removeprefix("sha256:") + ".json")

    def _remembered(self, resolved: Path) -> str | None:
        return _read(self._entry(resolved), _stamp(resolved))

    def _hash(self, resolved: Path, size_bytes: int) -> str:
        digest = hashlib.sha256()
        done = 0
        for chunk in read_chunks(resolved):
            digest.update(chunk)
            done += len(chunk)
            if size_bytes > _SMALL_BYTES:
                self.report(Progress("hash the source", done, size_bytes, "bytes", resolved.name))
        return "sha256:" + digest.hexdigest()


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
