"""A toolchain: what is to be installed in an environment of its own, as data in `toolchains/<name>.yaml` and `.lock`.

Rule: the toolchains are those of the checkout's `toolchains/` when edgec runs from one, else the copy in the package.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

import edgec
from edgec.documents.canonical import sha256_file
from edgec.documents.extend import load_extended
from edgec.documents.typed import parse
from edgec.documents.wording import listed, nearest, shown
from edgec.errors import InputError


class WheelDemand(BaseModel):
    """A wheel that no index has and nobody may pass on: the user names it in an environment variable.

    `smoke`: its modules that must be importable; `where`: where its maker gives it out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    variable: str = Field(pattern=r"^EDGEC_[A-Z0-9_]+$")
    distribution: str = Field(pattern=r"^[a-z0-9-]+$")
    version: str
    smoke: tuple[str, ...] = Field(min_length=1)
    where: str


class ToolchainDocument(BaseModel):
    """`toolchains/<name>.yaml`. `requirements` are what `ci/lock-toolchains` makes the lock from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal["edgec/toolchain/v1"] = Field(alias="schema")
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    python: str = Field(pattern=r"^>=3\.\d+,<3\.\d+$", examples=[">=3.11,<3.13"])
    platforms: tuple[Literal["linux-x86_64", "linux-aarch64"], ...] = Field(min_length=1)
    torch: str | None = Field(None, pattern=r"^\d+(\.\d+)+$", description="Installed first, from a CPU build.")
    beside_torch: tuple[str, ...] = Field((), description="From the place that torch comes from, and not by hash.")
    user_wheel: WheelDemand | None = None
    requirements: tuple[str, ...] = Field(min_length=1)
    overrides: tuple[str, ...] = Field((), description="In the place of what packages ask for; each was tried.")
    smoke: tuple[str, ...] = Field(min_length=1, description="Modules that must be importable.")
    disk_mib: int = Field(gt=0)
    memory_mib: int = Field(gt=0)


@dataclass(frozen=True)
class Toolchain:
    """What to install. `python_minors`: the accepted minor versions of Python 3, ascending.

    `disk_mib`: needed for the environment and its wheels; `memory_mib`: what its tools need, unless told otherwise.
    `torch`: the version of the CPU build that is installed first, not by hash; `smoke`: modules that must import;
    `requirements`: what the lock was made from; `overrides`: what was put in the place of packages' own demands;
    `user_wheel`: what the user must bring, see `edgec.toolchain.user_wheel`.
    """

    name: str
    title: str
    lock: Path
    python_minors: range
    platforms: tuple[str, ...]
    smoke: tuple[str, ...]
    disk_mib: int
    memory_mib: int
    torch: str | None = None
    requirements: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    beside_torch: tuple[str, ...] = ()
    user_wheel: WheelDemand | None = None

    @property
    def pinned(self) -> dict[str, str]:
        """The tools it is made for: name and version of what its document pins, torch among them."""
        pins = (re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([\w.+-]+)", r) for r in self.requirements)
        found = {pin[1]: pin[2] for pin in pins if pin is not None}
        return found if self.torch is None else {**found, "torch": self.torch}

    @property
    def python(self) -> str:
        """The Python it needs, for people: `>=3.11,<3.13`."""
        return f">=3.{self.python_minors.start},<3.{self.python_minors.stop}"

    @property
    def lock_digest(self) -> str:
        """`sha256:<hex>` of the lock file, which names the version of torch in its head."""
        return sha256_file(self.lock)


def toolchains_folder() -> Path:
    """The folder of the toolchains' documents and locks."""
    package = Path(edgec.__file__).parent
    checkout = package.parents[1]
    if (checkout / "pyproject.toml").is_file() and (checkout / "toolchains").is_dir():
        return checkout / "toolchains"
    return package / "_toolchains"


def all_toolchains() -> tuple[Toolchain, ...]:
    """Every toolchain edgec knows, by name."""
    return tuple(load_toolchain(toolchains_folder() / f"{name}.yaml") for name in _names())


def find_toolchain(name: str) -> Toolchain:
    """The toolchain of that name. Raises InputError."""
    names = _names()
    if name in names:
        return load_toolchain(toolchains_folder() / f"{name}.yaml")
    near = nearest(name, names)
    hint = f"did you mean `{near}`? Toolchains: " if near else "toolchains: "
    raise InputError.of(f"unknown toolchain {shown(name)}", hint=f"{hint}{listed(names)}")


def _names() -> list[str]:
    return sorted(path.stem for path in toolchains_folder().glob("*.yaml"))


def load_toolchain(path: Path) -> Toolchain:
    """The toolchain of a document; its lock lies beside it. Raises InputError."""
    document = parse(ToolchainDocument, load_extended(path))
    first, stop = (int(minor) for minor in re.findall(r"3\.(\d+)", document.python))
    lock = path.with_suffix(".lock")
    if not lock.is_file():
        raise InputError.of("the lock file is missing", place=str(lock), hint="make it with ci/lock-toolchains")
    return Toolchain(
        name=document.name,
        title=document.title,
        lock=lock,
        python_minors=range(first, stop),
        platforms=document.platforms,
        smoke=document.smoke,
        disk_mib=document.disk_mib,
        memory_mib=document.memory_mib,
        torch=document.torch,
        requirements=document.requirements,
        overrides=document.overrides,
        beside_torch=document.beside_torch,
        user_wheel=document.user_wheel,
    )


def this_platform() -> str:
    """`linux-x86_64`, `linux-aarch64`, ..."""
    machine = platform.machine()
    return f"{platform.system().lower()}-{'aarch64' if machine == 'arm64' else machine}"
