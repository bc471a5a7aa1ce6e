"""What runs models in a browser, locked: packages from npm for each format, with the digests of tarballs and files.

Rule: a site holds exactly these files; they are fetched when a bundle is built and never stand in this repository.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = Path(__file__).with_name("runtime.json")


@dataclass(frozen=True)
class RuntimeFile:
    """A file of the site. `member`: its path in the tarball; `digest` is `sha256:<hex>`."""

    file: str
    member: str
    digest: str
    size_bytes: int


@dataclass(frozen=True)
class WebRuntime:
    """An npm package. `folder`: where its files lie in the site; `integrity`: npm's own digest of the tarball;
    `llama_cpp`: the llama.cpp compiled into it, None where there is none.
    """

    folder: str
    package: str
    version: str
    licence: str
    llama_cpp: str | None
    tarball: str
    size_bytes: int
    integrity: str
    digest: str
    files: tuple[RuntimeFile, ...]

    @property
    def spec(self) -> str:
        """What npm is asked for: `name@version`."""
        return f"{self.package}@{self.version}"

    @property
    def site_bytes(self) -> int:
        """What its files take of the site."""
        return sum(file.size_bytes for file in self.files)

    def stored_name(self, file: RuntimeFile) -> str:
        """The file's name beside those of other packages."""
        return f"{self.folder}-{file.file}"


@functools.cache
def locked_runtimes(served: str) -> tuple[WebRuntime, ...]:
    """The packages that a site with the format `served` holds, the one that computes first."""
    return tuple(_runtime(entry) for entry in json.loads(LOCK.read_bytes()).get(served, ()))


@functools.cache
def every_runtime() -> tuple[WebRuntime, ...]:
    """All packages that are locked."""
    return tuple(r for served in json.loads(LOCK.read_bytes()) for r in locked_runtimes(served))


def _runtime(entry: Mapping[str, Any]) -> WebRuntime:
    files = (RuntimeFile(f["file"], f["member"], f"sha256:{f['sha256']}", f["size_bytes"]) for f in entry["files"])
    return WebRuntime(
        folder=entry["folder"],
        package=entry["package"],
        version=entry["version"],
        licence=entry["licence"],
        llama_cpp=entry.get("llama_cpp"),
        tarball=entry["tarball"],
        size_bytes=entry["size_bytes"],
        integrity=entry["integrity"],
        digest=f"sha256:{entry['sha256']}",
        files=tuple(files),
    )
