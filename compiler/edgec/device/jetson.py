"""The files by which a Jetson tells what it is: release, module, power mode; parsed, never guessed.

Sources: /etc/nv_tegra_release as Jetson Linux R36.4 and R39.2 write it; /var/lib/nvpmodel/status and /etc/nvpmodel.conf
as nvpmodel writes and reads them; `compatible` in the device tree.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TEGRA_RELEASE = "etc/nv_tegra_release"
MODEL = "proc/device-tree/model"
COMPATIBLE = "proc/device-tree/compatible"
POWER_STATUS = "var/lib/nvpmodel/status"
POWER_MODES = "etc/nvpmodel.conf"

# Compute capability of the system on chip that the device tree names (CUDA C++ Programming Guide).
_CHIPS = {"nvidia,tegra234": 87, "nvidia,tegra194": 72}
# Which JetPack brought a Jetson Linux, where the meta package is not installed (NVIDIA's JetPack archive).
_JETPACKS = {
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}


@dataclass(frozen=True)
class PowerMode:
    """The power mode that is set. `identifiers`: what modes there are, name to number for `nvpmodel -m`."""

    name: str
    identifiers: Mapping[str, int]


def read_text(path: Path) -> str | None:
    """The text of a small file; None if there is none or it cannot be read."""
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return None


def tegra_release(root: Path) -> str | None:
    """Jetson Linux, `36.4.3` for `# R36 (release), REVISION: 4.3, ...`."""
    found = re.search(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", read_text(root / TEGRA_RELEASE) or "")
    return f"{found[1]}.{found[2]}" if found else None


def module_name(root: Path) -> str | None:
    """The module and its carrier board as the device tree names them."""
    text = (read_text(root / MODEL) or "").strip("\x00\n ")
    return text or None


def chip_sm(root: Path) -> tuple[int, str] | None:
    """Compute capability by the system on chip's name, and that name."""
    names = (read_text(root / COMPATIBLE) or "").split("\x00")
    return next(((_CHIPS[name], name) for name in names if name in _CHIPS), None)


def jetpack_of(l4t: str) -> str | None:
    """The JetPack that brought this Jetson Linux."""
    return _JETPACKS.get(l4t)


def power_mode(root: Path) -> PowerMode | None:
    """The power mode that nvpmodel set; None where it does not say."""
    status = re.search(r"pmode:(\d+)", read_text(root / POWER_STATUS) or "")
    modes = re.findall(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", read_text(root / POWER_MODES) or "", re.M)
    identifiers = {name: int(number) for number, name in modes}
    name = next((name for name, number in identifiers.items() if status and number == int(status[1])), None)
    return None if name is None else PowerMode(name, identifiers)
