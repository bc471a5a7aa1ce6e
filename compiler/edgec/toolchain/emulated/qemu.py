"""qemu's user-mode emulator of 64-bit ARM: where it is, which one, and how a program of a root is started in it.

Rule: the processor is always named. Under the default one of qemu 7.2, results of int8 instructions were wrong.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import ToolError
from edgec.toolchain.surroundings import for_tool

# Debian's static build (`qemu-user-static`), then the names of others.
_NAMES = ("qemu-aarch64-static", "qemu-aarch64")
_VERSION_TIMEOUT_S = 30
_LIBRARIES = "usr/lib/aarch64-linux-gnu"


@dataclass(frozen=True)
class Qemu:
    """An emulator of this machine and its version, `7.2.22`."""

    path: Path
    version: str

    def launcher(self, root: Path, cpu: str) -> tuple[str, ...]:
        """The beginning of the command line of a program that stands in `root`."""
        libraries = f"LD_LIBRARY_PATH={root / _LIBRARIES}"
        return (str(self.path), "-cpu", cpu, "-L", str(root), "-E", libraries)


def find_qemu() -> Qemu:
    """The emulator on PATH. Raises ToolError without one."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise ToolError.of(
            "no emulator of 64-bit ARM on this machine (qemu-aarch64-static)",
            hint="install the package qemu-user-static (Debian, Ubuntu: apt install qemu-user-static)",
        )
    told = _told_version(found)
    version = re.search(r"version (\d+(?:\.\d+)+)", told)
    if version is None:
        raise ToolError.of(
            f"{found} does not tell its version: {told.strip()[:80]!r}", hint="install qemu-user-static again"
        )
    return Qemu(Path(found), version[1])


def _told_version(path: str) -> str:
    try:
        return subprocess.run(  # noqa: S603 - a program by its full path, no shell
            [path, "--version"], env=for_tool(os.environ, str(Path(path).parent)), check=False, capture_output=True,
            text=True, errors="replace", timeout=_VERSION_TIMEOUT_S,
        ).stdout  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError.of(f"{path} cannot be run: {error}", hint="install qemu-user-static again") from error


def cpu_title(cpu: str) -> str:
    """qemu's name of a processor for people: `cortex-a76` is `Cortex-A76`."""
    return "-".join(part.capitalize() for part in cpu.split("-"))
