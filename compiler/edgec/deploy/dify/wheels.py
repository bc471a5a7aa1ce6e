"""The plugin's own Python packages, locked: names, digests and sizes of the wheels for amd64 and arm64.

Rule: a package without internet installs exactly these files, and one with internet the same versions; they are those
of the toolchain that the plugin is tried with. `ci/lock-wheels` writes the lock.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgec.documents.canonical import sha256_json

Arch = Literal["amd64", "arm64"]
ARCHS: tuple[Arch, ...] = ("amd64", "arm64")
LOCK = Path(__file__).with_name("wheels.json")
FOLDER = "wheels"
# The Python that Dify's daemon makes environments with.
PYTHON_TAG = "3.12"
SDK = "dify_plugin"
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# The daemon's image is an Ubuntu 24.04 with glibc 2.39; wheels for older ones run there too.
_NEWEST_GLIBC = 28
_OLDEST_GLIBC = 17


@dataclass(frozen=True)
class Wheel:
    """One wheel. `archs`: the machines it is for, both for pure Python; `digest` is `sha256:<hex>`."""

    file: str
    digest: str
    size_bytes: int
    archs: tuple[Arch, ...]

    @property
    def requirement(self) -> str:
        """`name==version`, as it stands in the wheel's name."""
        name, version = self.file.split("-")[:2]
        return f"{name}=={version}"


@functools.cache
def locked_wheels() -> tuple[Wheel, ...]:
    """All wheels, by file name."""
    entries = json.loads(LOCK.read_bytes())["wheels"]
    return tuple(Wheel(e["file"], f"sha256:{e['sha256']}", e["size_bytes"], tuple(e["arch"])) for e in entries)


def lock_digest() -> str:
    """`sha256:<hex>` of what is locked."""
    return sha256_json([[w.file, w.digest] for w in locked_wheels()])


def wheel_bytes() -> int:
    """What the wheels take of the package."""
    return sum(wheel.size_bytes for wheel in locked_wheels())


def requirements(*, offline: bool) -> bytes:
    """requirements.txt; `offline`: from the wheels in the package alone."""
    pins = sorted({wheel.requirement for wheel in locked_wheels()}, key=lambda pin: (not pin.startswith(SDK), pin))
    head = ["--no-index", f"--find-links ./{FOLDER}/"] if offline else []
    return "\n".join([*head, *pins, ""]).encode()


def platform_options(arch: Arch) -> list[str]:
    """What tells pip to take the wheels of another machine's Python."""
    machine = _MACHINES[arch]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1)]
    # pip knows the older names of these as well.
    tags += [f"manylinux2014_{machine}"]
    python = ["--python-version", PYTHON_TAG, "--implementation", "cp", "--only-binary=:all:"]
    return [*python, *(option for tag in tags for option in ("--platform", tag))]
