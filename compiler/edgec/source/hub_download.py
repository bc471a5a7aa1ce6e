"""Brings listed files into the Hugging Face cache, whole and checked.

Rule: a file gets its final name only after its digest was found right; what is unfinished waits under another name and
is resumed, and what is wrong is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgec.documents.canonical import sha256_file
from edgec.errors import InputError
from edgec.events import Note, Reporter
from edgec.source.hub_cache import HubCache, RepoFile
from edgec.source.hub_client import HubClient, wrong_digest
from edgec.source.layout import MAX_INDEX_BYTES, small_file_limit
from edgec.store.atomic import explained
from edgec.store.locks import exclusive

Meter = Callable[[int, str], None]


def _unmeasured(done: int, detail: str, /) -> None:
    """A meter that shows nothing."""


class HubFiles:
    """The files of one commit: on the hub, and in the cache once they were asked for."""

    def __init__(self, cache: HubCache, report: Reporter) -> None:
        self.client = HubClient(cache, report)
        self._cache = cache
        self._report = report

    def fetch(self, file: RepoFile, meter: Meter = _unmeasured) -> Path:
        """Download `file` unless the cache has it; returns its path in the snapshot.

        Two processes that want the same content download it once. `meter`: bytes there so far, and a detail to show.
        Raises InputError (wrong digest, no access) or ToolError (network, disk).
        """
        if file.sha256 is None:
            return self.client.fetch_small(file)
        with exclusive(self._cache.own / f"{file.sha256}.lock", waiting=lambda: self._waiting(file)):
            self._bring(file, file.sha256, meter)
            path = self._cache.show(file.name, file.sha256)
        meter(file.size_bytes, file.name)
        return path

    def read_small(self, file: RepoFile) -> bytes:
        """The content of a small file, brought into the cache. Raises as `fetch`, and when it is too large."""
        limit = small_file_limit(file.name) or MAX_INDEX_BYTES
        if file.size_bytes > limit:
            raise InputError.of(f"is larger than {limit} bytes", hint="check the repository", place=file.name)
        return self.fetch(file).read_bytes()

    def _bring(self, file: RepoFile, sha256: str, meter: Meter) -> None:
        partial, blob = self._cache.partial(sha256), self._cache.blob(sha256)
        digest = f"sha256:{sha256}"
        if blob.is_file() and blob.stat().st_size == file.size_bytes and sha256_file(blob) == digest:
            return
        self.client.download(file, partial, lambda done: meter(done, file.name))
        meter(file.size_bytes, f"checking {file.name}")
        if sha256_file(partial) != digest:
            partial.unlink()
            raise wrong_digest(self._cache.repo, file)
        with explained(blob):
            partial.replace(blob)

    def _waiting(self, file: RepoFile) -> None:
        self._report(Note(f"another build is downloading {file.name}; waiting for it"))
