"""The Debian packages installed on a device, from dpkg's own record; dpkg itself is not started.

Rule: only what is fully installed counts; a removed package's configuration is none.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

STATUS = "var/lib/dpkg/status"


@dataclass(frozen=True)
class Package:
    """An installed package. `version` is dpkg's: `10.3.0.30-1+cuda12.5`."""

    name: str
    version: str
    architecture: str

    @property
    def release(self) -> str:
        """The version without epoch and without what the packager added: `10.3.0.30`."""
        upstream = self.version.partition(":")[2] if ":" in self.version else self.version
        found = re.match(r"\d+(\.\d+)*", upstream)
        return found[0] if found else upstream


def installed_packages(root: Path) -> Mapping[str, Package]:
    """Name -> package; empty where there is no dpkg."""
    found: dict[str, Package] = {}
    with contextlib.suppress(OSError):
        for fields in _paragraphs((root / STATUS).read_text(encoding="utf-8", errors="replace")):
            if fields.get("Status", "").split()[-1:] == ["installed"] and "Version" in fields and "Package" in fields:
                package = Package(fields["Package"], fields["Version"], fields.get("Architecture", ""))
                found[package.name] = package
    return found


def newest(packages: Mapping[str, Package], pattern: str) -> Package | None:
    """The package with the highest release among those whose whole name matches; None if there is none."""
    matching = [package for name, package in packages.items() if re.fullmatch(pattern, name)]
    return max(matching, key=lambda package: parts(package.release), default=None)


def parts(release: str) -> tuple[int, ...]:
    """The numbers of a version, for comparing: `36.4.3` is (36, 4, 3). What follows the numbers does not count."""
    found = re.match(r"\d+(\.\d+)*", release)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    for block in re.split(r"\n\s*\n", text):
        # Continued lines begin with a space and hold descriptions and dependencies.
        pairs = (line.partition(":") for line in block.splitlines() if line and not line[0].isspace())
        yield {name: value.strip() for name, colon, value in pairs if colon}
