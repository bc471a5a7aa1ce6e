"""The store of action results: `results/<key>/` is whole and read-only, `partial/<key>/` is work in progress.

Rules: a result appears by one rename; one process works on a key at a time, the others wait and then use its result;
a partial folder survives a kill, so that a step can resume; a result whose files changed on disk is not a result.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.documents.canonical import canonical_json, sha256_file
from edgec.store.atomic import explained, fsync_folder, write_file
from edgec.store.locks import exclusive
from edgec.store.paths import CACHE_HINT

_RESULT = "result.json"


@dataclass(frozen=True)
class StoredFile:
    """A file of a result. `digest` is `sha256:<hex>`."""

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True)
class Result:
    """A finished action: its folder, its files, and facts (JSON) that later actions and people read."""

    folder: Path
    files: tuple[StoredFile, ...]
    facts: Mapping[str, Any]

    def path(self, name: str) -> Path:
        """Where the file `name` of this result stands."""
        return self.folder / name


@dataclass(frozen=True)
class Entry:
    """Something in the store. `is_reference`: an unquantized model, large and quick to make again."""

    name: str
    size_bytes: int
    is_reference: bool


@dataclass(frozen=True)
class ActionStore:
    """Results under `root`, named by action keys (`sha256:<hex>`)."""

    root: Path

    def lookup(self, key: str) -> Result | None:
        """The result of `key`, or None if there is none or its files are not what was stored."""
        folder = self._folder("results", key)
        try:
            record = json.loads((folder / _RESULT).read_bytes())
            files = tuple(StoredFile(f["name"], f["size_bytes"], f["digest"]) for f in record["files"])
            if all(_unchanged(folder / f["name"], f) for f in record["files"]):
                return Result(folder, files, record["facts"])
        except (OSError, ValueError, KeyError, TypeError):
            # A result that cannot be read is no result: the action runs again.
            return None
        return None

    @contextlib.contextmanager
    def work(self, key: str, *, waiting: Callable[[], None] | None = None) -> Iterator[Workspace | Result]:
        """Holds `key`: yields a `Workspace` to fill, or the `Result` another process stored meanwhile."""
        with exclusive(self.root / "locks" / f"{_hex(key)}.lock", waiting=waiting, hint=CACHE_HINT):
            done = self.lookup(key)
            if done is not None:
                yield done
                return
            folder = self._folder("partial", key)
            with explained(folder, hint=CACHE_HINT):
                folder.mkdir(parents=True, exist_ok=True)
            yield Workspace(folder, self._folder("results", key))

    def entries(self) -> tuple[Entry, ...]:
        """All results and partial folders."""
        found = []
        for state in ("results", "partial"):
            base = self.root / state
            for folder in sorted(base.iterdir()) if base.is_dir() else []:
                size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                found.append(Entry(f"{state}/{folder.name}", size, any(folder.glob("reference*.gguf"))))
        return tuple(found)

    def remove(self, entry: str) -> None:
        """Deletes one entry named by `entries`, unless an action is at work on it (then it waits)."""
        folder = self.root / entry
        lock = self.root / "locks" / f"{folder.name}.lock"
        # Whoever held the lock may have turned a partial folder into a result, or cleaned as well.
        with (
            exclusive(lock, hint=CACHE_HINT),
            explained(folder, hint=CACHE_HINT),
            contextlib.suppress(FileNotFoundError),
        ):
            shutil.rmtree(folder)

    def discard(self, key: str) -> None:
        """Forgets the result of `key`, so that its action runs again; waits for a process at work on it."""
        self.remove(f"results/{_hex(key)}")

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / _hex(key)


@dataclass(frozen=True)
class Workspace:
    """The folder an action fills. What stands in it already was left by an interrupted run of the same key."""

    folder: Path
    final: Path

    def commit(self, files: Mapping[str, str | None], facts: Mapping[str, Any]) -> Result:
        """Makes the result visible. `files`: name -> digest, or None to hash it here; anything else in the folder goes.

        Raises ToolError if a named file is missing, so that no action can succeed without its output.
        """
        with explained(self.folder, hint=CACHE_HINT):
            keep = set(files)
            for path in sorted(self.folder.iterdir()):
                if path.name not in keep:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            records = [_describe(self.folder / n, d) for n, d in sorted(files.items())]
            write_file(self.folder / _RESULT, canonical_json({"files": records, "facts": dict(facts)}))
            if self.final.exists():
                # A damaged older result: lookup refused it, nobody uses it.
                shutil.rmtree(self.final)
            self.final.parent.mkdir(parents=True, exist_ok=True)
            self.folder.rename(self.final)
            fsync_folder(self.final.parent)
            for name in files:
                # Bundles link to these files: an editor must not be able to change them by accident. Not earlier: a
                # step that is killed before the rename could not write to its own remains.
                (self.final / name).chmod(0o444)
        stored = tuple(StoredFile(f["name"], f["size_bytes"], f["digest"]) for f in records)
        return Result(self.final, stored, dict(facts))


def _describe(path: Path, digest: str | None) -> dict[str, Any]:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    status = path.stat()
    return {
        "name": path.name,
        "size_bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "digest": digest or sha256_file(path),
    }


def _unchanged(path: Path, record: Mapping[str, Any]) -> bool:
    status = path.stat()
    if status.st_size != record["size_bytes"]:
        return False
    return bool(status.st_mtime_ns == record["mtime_ns"] or sha256_file(path) == record["digest"])


def _hex(key: str) -> str:
    return key.removeprefix("sha256:")
