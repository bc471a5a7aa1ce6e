"""The store of action results: `results/<key>/` is whole and read-only, `partial/<key>/` is work in progress.

Rules: a result appears by one rename; one process works on a key at a time, the others wait and then use its result;
a partial folder survives a kill, so that a step can resume; a result whose files changed on disk is not a result.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.documents.canonical import canonical_json, sha256_file
from edgec.errors import ToolError
from edgec.store.atomic import explained, fsync_folder, write_file
from edgec.store.locks import exclusive, shared, unless_held
from edgec.store.paths import CACHE_HINT
from edgec.store.remains import delete, make_usable

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

    def damaged_files(self) -> tuple[Path, ...]:
        """The files whose content is not what was stored, whatever their sizes and times say; reads all of them."""
        return tuple(self.path(f.name) for f in self.files if _digest_or_none(self.path(f.name)) != f.digest)


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
            result = Result(folder, files, record["facts"])
            stamps = [_proven(folder / f["name"], f) for f in record["files"]]
        except (OSError, ValueError, KeyError, TypeError):
            # A result that cannot be read is no result: the action runs again.
            return None
        proven = [s for s in stamps if s is not None]
        if len(proven) < len(stamps):
            return None
        if proven != record["files"]:
            # The store was copied, say: hashed once, not at every look. Where it cannot be written, it is hashed again.
            with contextlib.suppress(ToolError):
                write_file(folder / _RESULT, canonical_json({**record, "files": proven}))
        return result

    @contextlib.contextmanager
    def work(self, key: str, *, waiting: Callable[[], None] | None = None) -> Iterator[Workspace | Result]:
        """Holds `key`: yields a `Workspace` to fill, or the `Result` another process stored meanwhile."""
        with exclusive(self._work_lock(_hex(key)), waiting=waiting, hint=CACHE_HINT):
            yield self._begin(key)

    @contextlib.contextmanager
    def work_unless_held(self, key: str) -> Iterator[Workspace | Result | None]:
        """As `work`, but None if another process works on `key`: who holds a key must not wait for another."""
        with unless_held(self._work_lock(_hex(key)), hint=CACHE_HINT) as free:
            yield self._begin(key) if free else None

    def _begin(self, key: str) -> Workspace | Result:
        """The result of a held key, if it is there by now, else the folder to make it in."""
        done = self.lookup(key)
        if done is not None:
            return done
        folder = self._folder("partial", key)
        with explained(folder, hint=CACHE_HINT):
            make_usable(folder)
        return Workspace(folder, self._folder("results", key))

    def entries(self) -> tuple[Entry, ...]:
        """All results and partial folders."""
        found = []
        for state in ("results", "partial"):
            base = self.root / state
            for folder in sorted(base.iterdir()) if base.is_dir() else []:
                size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
                found.append(Entry(f"{state}/{folder.name}", size, any(folder.glob("reference*.gguf"))))
        return tuple(found)

    def in_use(self, key: str) -> contextlib.AbstractContextManager[None]:
        """Keeps `remove` away from whatever the key has, or gets within. Begin it before `lookup`."""
        return shared(self._use_lock(_hex(key)), hint=CACHE_HINT)

    def remove(self, entry: str) -> bool:
        """Deletes one entry named by `entries`; False if a build uses it, so that it stays.

        Waits for an action at work on it.
        """
        folder = self.root / entry
        with unless_held(self._use_lock(folder.name), hint=CACHE_HINT) as free:
            if not free:
                return False
            # Whoever held the lock may have turned a partial folder into a result, or cleaned as well.
            with exclusive(self._work_lock(folder.name), hint=CACHE_HINT), explained(folder, hint=CACHE_HINT):
                delete(folder)
        return True

    def is_damaged(self, entry: str) -> bool:
        """Whether an entry named by `entries` is a result that is not what was stored; reads all of it."""
        state, name = entry.split("/")
        if state != "results":
            return False
        result = self.lookup(f"sha256:{name}")
        return result is None or bool(result.damaged_files())

    def discard(self, key: str) -> None:
        """Forgets the result of `key`, so that its action runs again; builds that read its files can go on."""
        record = self._folder("results", key) / _RESULT
        with explained(record, hint=CACHE_HINT):
            record.unlink(missing_ok=True)

    def _work_lock(self, name: str) -> Path:
        return self.root / "locks" / f"{name}.lock"

    def _use_lock(self, name: str) -> Path:
        return self.root / "locks" / f"{name}.use"

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
                    delete(path)
            records = [_describe(self.folder / n, d) for n, d in sorted(files.items())]
            write_file(self.folder / _RESULT, canonical_json({"files": records, "facts": dict(facts)}))
            # A damaged older result, if there is one: lookup refused it, nobody uses it.
            delete(self.final)
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
        "inode": status.st_ino,
        "digest": digest or sha256_file(path),
    }


def _proven(path: Path, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of a file with its stamps of now, or None if it is not what was stored. Raises OSError."""
    status = path.stat()
    # Not the time of the last change of the inode: every bundle links to these files, which changes it.
    now = {**record, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}
    if status.st_size != record["size_bytes"]:
        return None
    return now if now == record or sha256_file(path) == record["digest"] else None


def _digest_or_none(path: Path) -> str | None:
    try:
        return sha256_file(path)
    except OSError:
        # Gone, or the disk gives up its sectors no more.
        return None


def _hex(key: str) -> str:
    return key.removeprefix("sha256:")
