"""The emulated root that stands: a folder with Debian's Python for 64-bit ARM and the aarch64 wheels of a lock.

Rule: a root's name is of what it is to be made from, its digest of what it was made of: every package and the lock.
"""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.documents.canonical import sha256_json
from edgec.store.locks import shared
from edgec.store.paths import CACHE_HINT
from edgec.toolchain.definition import Toolchain
from edgec.toolchain.emulated.debian import PACKAGES
from edgec.toolchain.environment import use_lock
from edgec.toolchain.surroundings import for_tool

RECORD = "edgec-root.json"
LAYOUT = 1


@dataclass(frozen=True)
class Root:
    """A root that is whole. `digest`: `sha256:<hex>` of the packages it is made of and of the wheels' lock."""

    folder: Path
    digest: str

    @property
    def python(self) -> Path:
        """Its Python, for 64-bit ARM."""
        return self.folder / "usr/bin/python3"


def root_name(toolchain: Toolchain) -> str:
    """`<toolchain>-aarch64-<16 hex>`: of this system's release, whose packages it is made of, and of the lock."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    made_from = {
        "system": [release.get(name, "") for name in ("ID", "VERSION_ID", "VERSION_CODENAME")],
        "packages": list(PACKAGES),
        "lock": toolchain.lock_digest,
        "layout": LAYOUT,
    }
    return f"{toolchain.name}-aarch64-{sha256_json(made_from).removeprefix('sha256:')[:16]}"


def is_present_root(folder: Path, toolchain: Toolchain) -> bool:
    """Whether the folder is the root that would be used now: whole, of the present lock and the system's release."""
    return folder.name == root_name(toolchain) and read_root(folder) is not None


def read_root(folder: Path) -> Root | None:
    """The root in `folder`, or None if it is not whole."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        root = Root(folder, sha256_json(record))
        return root if root.python.is_file() else None
    except (OSError, ValueError):
        return None


def root_in_use(root: Root) -> contextlib.AbstractContextManager[None]:
    """Keeps those who remove roots away while something runs in it."""
    return shared(use_lock(root.folder), hint=CACHE_HINT)


def emulated_variables(env: Mapping[str, str]) -> dict[str, str]:
    """What a program in the root gets."""
    return {
        **for_tool(env, "/usr/bin"),
        # abort() starts a debugger otherwise; threads that spin while they wait cost emulated time.
        "GGML_NO_BACKTRACE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
