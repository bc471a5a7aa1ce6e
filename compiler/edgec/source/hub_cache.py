"""Where a pinned commit lies in Hugging Face's own cache, and what edgec remembers of it there.

Rule: a record is a copy of what the hub said about one commit, which never changes; it is checked again when it is
read, and a damaged or missing one only costs asking the hub again.
Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache (blobs/<digest>, snapshots/<commit>/<file>).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

from edgec.documents.canonical import canonical_json
from edgec.store.atomic import explained, write_file

_SCHEMA = "edgec/hub-record/v1"


@dataclass(frozen=True)
class RepoFile:
    """A file of the repository as the hub lists it. `sha256`: hex, for files in LFS; `git_oid`: for all others."""

    name: str
    size_bytes: int
    sha256: str | None
    git_oid: str | None

    def holds(self, data: bytes) -> bool:
        """Whether `data` is the content the hub listed: the SHA-256 of a file in LFS, git's own digest of another."""
        if len(data) != self.size_bytes:
            return False
        if self.sha256 is not None:
            return hashlib.sha256(data).hexdigest() == self.sha256
        # What is not in LFS is named by git's own digest; it identifies the file, the bundle records a SHA-256 of it.
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        return self.git_oid is None or git == self.git_oid


@dataclass(frozen=True)
class HubRecord:
    """The files of one commit, and the JSON header of each of its weight files."""

    files: Mapping[str, RepoFile]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class HubCache:
    """The folders of one repository at one commit."""

    repo: str
    revision: str

    @property
    def root(self) -> Path:
        """The folder of all repositories, set by HF_HUB_CACHE or HF_HOME."""
        return Path(constants.HF_HUB_CACHE)

    @property
    def folder(self) -> Path:
        """The repository's folder."""
        return self.root / constants.REPO_ID_SEPARATOR.join(["models", *self.repo.split("/")])

    @property
    def snapshot(self) -> Path:
        """The folder that shows the commit's files under their names."""
        return self.folder / "snapshots" / self.revision

    @property
    def own(self) -> Path:
        """The folder of what edgec remembers of this commit; removed with the model by `hf cache rm`."""
        return self.folder / "edgec" / self.revision

    def blob(self, sha256: str) -> Path:
        """Where the content with this digest (hex) lies."""
        return self.folder / "blobs" / sha256

    def partial(self, sha256: str) -> Path:
        """Where an unfinished download of this content waits to be resumed."""
        return self.folder / "blobs" / f"{sha256}.edgec-partial"

    def show(self, name: str, sha256: str) -> Path:
        """Make the blob visible in the snapshot as `name`; returns its path. Safe to repeat."""
        path = self.snapshot / name
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.edgec-link")
            temporary.unlink(missing_ok=True)
            # Relative, as huggingface_hub makes it: the cache may be moved or mounted elsewhere.
            up = Path(*[".."] * len(path.relative_to(self.folder).parent.parts))
            temporary.symlink_to(up / "blobs" / sha256)
            temporary.replace(path)
        return path

    def load(self) -> HubRecord | None:
        """The record of this commit, or None."""
        try:
            value = json.loads((self.own / "record.json").read_bytes())
            if value["schema"] != _SCHEMA:
                return None
            files = {str(n): RepoFile(str(n), int(f[0]), f[1], f[2]) for n, f in value["files"].items()}
            return HubRecord(files=files, headers={str(n): str(h) for n, h in value["headers"].items()})
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            return None

    def save(self, record: HubRecord) -> None:
        """Remember the record."""
        files = {f.name: [f.size_bytes, f.sha256, f.git_oid] for f in record.files.values()}
        value = {"schema": _SCHEMA, "files": files, "headers": dict(record.headers)}
        write_file(self.own / "record.json", canonical_json(value))
