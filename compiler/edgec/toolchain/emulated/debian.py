"""Debian's arm64 packages in a folder: fetched and checked by this machine's own apt, unpacked, never installed.

Rule: apt works on lists and a status of its own beside the folder, so that nothing of the machine changes and nobody
needs to be root; its exit code is not believed, the packages must be there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from edgec.documents.canonical import sha256_file
from edgec.errors import ToolError
from edgec.store.atomic import explained
from edgec.store.paths import CACHE_HINT
from edgec.toolchain.process import ToolEndedError, run_tool
from edgec.toolchain.surroundings import for_apt

PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1")
_UPDATE_TIMEOUT_S = 600.0
_FETCH_TIMEOUT_S = 1800.0
_UNPACK_TIMEOUT_S = 300.0


def require_apt() -> None:
    """Raises ToolError on a machine without apt and dpkg."""
    lacking = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    if lacking:
        raise ToolError.of(
            f"the emulated root is made of Debian's packages, and this machine has no {' and no '.join(lacking)}",
            hint="make it once on a Debian machine, and bring the folder emulation-aarch64-* of "
            "$EDGEC_CACHE/toolchains here",
        )


def fetch_packages(beside: Path, log: Path) -> list[Path]:
    """Downloads PACKAGES and what they depend on into the new folder `beside`. Raises ToolError."""
    with explained(beside, hint=CACHE_HINT):
        for name in ("lists/partial", "archives/partial"):
            (beside / name).mkdir(parents=True)
        (beside / "status").touch()
    # One source of many that is down need not be the one with the packages: what it said counts if they do not come.
    failed = _apt(beside, "update", log=log, timeout_s=_UPDATE_TIMEOUT_S)
    refused = _apt(beside, "--download-only", "install", *PACKAGES, log=log, timeout_s=_FETCH_TIMEOUT_S)
    if refused is not None:
        raise _no_packages(failed or refused, log)
    packages = sorted((beside / "archives").glob("*.deb"))
    # `python3-minimal_3.11.2-1+b1_arm64.deb`
    got = {path.name.partition("_")[0] for path in packages}
    lacking = [name for name in PACKAGES if name not in got]
    if lacking:
        raise _no_packages(f"apt brought no {', '.join(lacking)} for arm64", log)
    return packages


def unpack_packages(packages: list[Path], root: Path, log: Path) -> Mapping[str, str]:
    """Unpacks them into `root`; their digests by name. Raises ToolError."""
    for package in packages:
        run_tool(
            ["dpkg-deb", "-x", str(package), str(root)],
            log=log, timeout_s=_UNPACK_TIMEOUT_S, env=for_apt(os.environ), append=True,
        )  # fmt: skip
    return {package.name: sha256_file(package) for package in packages}


def _apt(beside: Path, *arguments: str, log: Path, timeout_s: float) -> str | None:
    """Runs apt-get; how it failed, None when it did not. Raises ToolError when it cannot be started."""
    own = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Install-Recommends": "0",
        # Without it an update that fetched nothing ends well.
        "APT::Update::Error-Mode": "any",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Dir::State::Lists": str(beside / "lists"),
        "Dir::State::status": str(beside / "status"),
        "Dir::Cache": str(beside),
        "Dir::Cache::Archives": str(beside / "archives"),
    }
    options = [part for name, value in own.items() for part in ("-o", f"{name}={value}")]
    try:
        run_tool(
            ["apt-get", "-q", "-y", *options, *arguments],
            log=log, timeout_s=timeout_s, env=for_apt(os.environ), append=True,
        )  # fmt: skip
    except ToolEndedError as error:
        return error.diagnostics[0].message
    return None


def _no_packages(why: str, log: Path) -> ToolError:
    return ToolError.of(
        f"the packages of the emulated root cannot be fetched: {why}",
        hint="check the network, the proxy and this machine's apt sources, which must have arm64 (`apt-get update`); "
        f"the whole output is in {log}",
    )
