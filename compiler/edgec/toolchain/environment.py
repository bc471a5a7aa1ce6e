"""An installed toolchain: a folder under `$EDGEC_CACHE/toolchains` that is whole, and what stands in it.

Rule: a folder is named by what it was made from; one whose record or distributions are not what was installed is none.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.documents.canonical import sha256_json
from edgec.store.locks import shared
from edgec.store.paths import CACHE_HINT
from edgec.toolchain.definition import Toolchain, this_platform

RECORD = "edgec-environment.json"
_KEY_CHARS = 16


@dataclass(frozen=True)
class Environment:
    """A toolchain that is installed. `lock_digest`: `sha256:<hex>`; `versions`: distribution -> version.

    `user_wheel`: `sha256:<hex>` of the wheel that the user brought to it, None for toolchains that need none.
    """

    toolchain: Toolchain
    folder: Path
    python: Path
    lock_digest: str
    versions: Mapping[str, str]
    user_wheel: str | None = None

    @property
    def site_packages(self) -> Path:
        """Where its distributions stand."""
        return next(iter((self.folder / "lib").glob("python3.*"))) / "site-packages"


def folder_name(toolchain: Toolchain, minor: int, user_wheel: str | None = None) -> str:
    """`<name>-<16 hex>`: of the lock, Python's minor version, the platform and the digest of the user's wheel, if any,
    which all shape the content."""
    made_from = {"lock": toolchain.lock_digest, "python": f"3.{minor}", "platform": this_platform()}
    if user_wheel is not None:
        made_from["user_wheel"] = user_wheel
    return f"{toolchain.name}-{sha256_json(made_from).removeprefix('sha256:')[:_KEY_CHARS]}"


def installed(toolchain: Toolchain, root: Path) -> Environment | None:
    """The environment of this toolchain's present lock under `root`; None if there is none that is whole.

    With whatever wheel the user brought, where it needs one: a step looks for that of its own (`install`).
    """
    if toolchain.user_wheel is not None:
        folders = sorted(p for p in root.glob(f"{toolchain.name}-*") if p.name.rpartition("-")[0] == toolchain.name)
        return next((e for folder in folders if (e := read_environment(toolchain, folder)) is not None), None)
    for minor in toolchain.python_minors:
        environment = read_environment(toolchain, root / folder_name(toolchain, minor))
        if environment is not None:
            return environment
    return None


def read_environment(toolchain: Toolchain, folder: Path) -> Environment | None:
    """The environment in `folder`, or None if it is not whole."""
    python = folder / "bin" / "python"
    try:
        record = json.loads((folder / RECORD).read_bytes())
        # The Python it was made with may have been removed since: then this link leads nowhere.
        has_all = python.is_file() and record["distributions"] == distribution_folders(folder)
        is_whole = has_all and record["lock_digest"] == toolchain.lock_digest
        own = record.get("user_wheel")
        environment = Environment(toolchain, folder, python, record["lock_digest"], record["versions"], own)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return environment if is_whole else None


def distribution_folders(folder: Path) -> list[str]:
    """The names of the installed distributions' records: `numpy-1.26.4.dist-info`, sorted."""
    return sorted(path.name for path in folder.glob("lib/python3.*/site-packages/*.dist-info"))


def record_of(
    toolchain: Toolchain, folder: Path, versions: Mapping[str, str], user_wheel: str | None = None
) -> dict[str, Any]:
    """What `read_environment` reads."""
    return {
        "toolchain": toolchain.name,
        "lock_digest": toolchain.lock_digest,
        "versions": dict(sorted(versions.items())),
        "distributions": distribution_folders(folder),
        **({} if user_wheel is None else {"user_wheel": user_wheel}),
    }


def in_use(environment: Environment) -> contextlib.AbstractContextManager[None]:
    """Keeps `remove` away from the environment while something runs in it."""
    return shared(use_lock(environment.folder), hint=CACHE_HINT)


def use_lock(folder: Path) -> Path:
    """The lock that those who use the environment in `folder` share."""
    return folder.parent / "locks" / f"{folder.name}.use"


def work_lock(folder: Path) -> Path:
    """The lock of the one who makes or removes the environment in `folder`."""
    return folder.parent / "locks" / f"{folder.name}.lock"
