"""The browser's runtime, locked: wllama from npm, its version, the digest of its tarball and of each file of it.

Rule: a site holds exactly these files; they are fetched when a bundle is built and never stand in this repository.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

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
    """An npm package. `integrity`: npm's own digest of the tarball; `llama_cpp`: the llama.cpp compiled into it."""

    package: str
    version: str
    licence: str
    llama_cpp: str
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


@functools.cache
def locked_runtime() -> WebRuntime:
    """The runtime of every site that this edgec makes."""
    entry = json.loads(LOCK.read_bytes())
    files = (RuntimeFile(f["file"], f["member"], f"sha256:{f['sha256']}", f["size_bytes"]) for f in entry["files"])
    return WebRuntime(
        package=entry["package"],
        version=entry["version"],
        licence=entry["licence"],
        llama_cpp=entry["llama_cpp"],
        tarball=entry["tarball"],
        size_bytes=entry["size_bytes"],
        integrity=entry["integrity"],
        digest=f"sha256:{entry['sha256']}",
        files=tuple(files),
    )
