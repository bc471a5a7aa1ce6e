"""A wheel that the user brings: found by an environment variable, and looked at before anything is installed.

Rule: edgec neither downloads, keeps nor passes on such a wheel. What is used is what was looked at: it is known by its
SHA-256, which names the environment that it is installed in and stands in the provenance.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.parser import HeaderParser
from pathlib import Path

from edgec.documents.canonical import sha256_file
from edgec.errors import InputError
from edgec.toolchain.definition import Toolchain, WheelDemand, this_platform

_MOST_METADATA_BYTES = 1 << 20


@dataclass(frozen=True)
class UserWheel:
    """A wheel that fits its toolchain. `digest`: `sha256:<hex>`; `minor`: the Python 3 that it is for, None for any."""

    path: Path
    distribution: str
    version: str
    digest: str
    minor: int | None

    def suited(self, toolchain: Toolchain) -> Toolchain:
        """The toolchain, on the wheel's own Python."""
        minors = toolchain.python_minors if self.minor is None else range(self.minor, self.minor + 1)
        return replace(toolchain, python_minors=minors)


def find_user_wheel(toolchain: Toolchain, env: Mapping[str, str]) -> UserWheel:
    """The wheel that the toolchain needs of the user. Raises InputError: not named, no wheel, or one for other uses."""
    demand = toolchain.user_wheel
    if demand is None:
        raise ValueError(f"the toolchain {toolchain.name} needs no wheel of the user")
    named = env.get(demand.variable, "")
    if not named:
        raise InputError.of(
            f"the toolchain `{toolchain.name}` needs {demand.distribution} {demand.version}, which edgec may not bring "
            f"along, and {demand.variable} is not set",
            hint=f"download the wheel ({demand.where}) and set {demand.variable} to its path",
        )
    path = Path(named).expanduser()
    metadata, tags = _opened(path, demand)
    name = re.sub(r"[-_.]+", "-", metadata.get("Name", "")).lower()
    version = metadata.get("Version", "")
    if (name, version) != (demand.distribution, demand.version):
        raise _refused(path, demand, f"is {name or 'of no name'} {version}, not {demand.distribution} {demand.version}")
    return UserWheel(path.absolute(), name, version, sha256_file(path), _minor(path, toolchain, demand, tags))


def _opened(path: Path, demand: WheelDemand) -> tuple[Mapping[str, str], list[str]]:
    """The METADATA of the wheel, and its tags."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise _refused(path, demand, what)
    try:
        with zipfile.ZipFile(path) as wheel:
            found = {name.rpartition("/")[2]: name for name in wheel.namelist() if _is_of_record(name)}
            texts = {name: _text(wheel, found[name]) for name in ("METADATA", "WHEEL")}
    except (OSError, zipfile.BadZipFile, KeyError, UnicodeDecodeError, ValueError) as error:
        raise _refused(path, demand, f"is no wheel that can be read ({type(error).__name__}: {error})") from error
    parser = HeaderParser()
    tags = [str(tag) for tag in parser.parsestr(texts["WHEEL"]).get_all("Tag", [])]
    return {key: str(value) for key, value in parser.parsestr(texts["METADATA"]).items()}, tags


def _is_of_record(name: str) -> bool:
    return name.count("/") == 1 and name.partition("/")[0].endswith(".dist-info")


def _text(wheel: zipfile.ZipFile, name: str) -> str:
    if wheel.getinfo(name).file_size > _MOST_METADATA_BYTES:
        raise ValueError(f"{name} is too large")
    return wheel.read(name).decode()


def _minor(path: Path, toolchain: Toolchain, demand: WheelDemand, tags: list[str]) -> int | None:
    """The Python 3 that the wheel is for. Raises InputError when no tag fits the toolchain and this machine."""
    parts = [tag.split("-") for tag in tags if tag.count("-") == 2]
    here = this_platform().replace("-", "_")
    machine = here.partition("_")[2]
    runs = [p for p in parts if p[2] == "any" or (p[2].endswith(machine) and p[2].startswith(("linux", "manylinux")))]
    if not runs:
        raise _refused(path, demand, f"is for {_listed({p[2] for p in parts})}, and this machine is {here}")
    pythons = {p[0] for p in runs}
    if "py3" in pythons:
        return None
    minors = {int(name[3:]) for name in pythons if re.fullmatch(r"cp3\d+", name)}
    usable = sorted(minors & set(toolchain.python_minors))
    if not usable:
        raise _refused(path, demand, f"is for {_listed(pythons)}, and the toolchain is for Python {toolchain.python}")
    return usable[0]


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "no machine that it names"


def _refused(path: Path, demand: WheelDemand, what: str) -> InputError:
    return InputError.of(
        f"{demand.variable} names a file that {what}",
        place=str(path),
        hint=f"name the wheel of {demand.distribution} {demand.version} for this machine ({demand.where})",
    )
