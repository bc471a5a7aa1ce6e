"""What stands under `$EDGEC_CACHE/toolchains`, and making room there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgec.store.atomic import explained
from edgec.store.locks import unless_held
from edgec.store.paths import CACHE_HINT
from edgec.store.remains import delete
from edgec.toolchain.definition import Toolchain, all_toolchains
from edgec.toolchain.emulated.root import is_present_root
from edgec.toolchain.environment import Environment, installed, use_lock, work_lock
from edgec.toolchain.install import (
    PARTIAL,
    environment_folders,
    folder_bytes,
    root_folders,
    sweep,
    wheels_folder,
    wheels_lock,
)


@dataclass(frozen=True)
class Standing:
    """A toolchain and what of it is installed. `stale`: folders of its earlier locks, or broken ones."""

    toolchain: Toolchain
    environment: Environment | None
    size_bytes: int
    stale: tuple[Path, ...]


def inventory(root: Path) -> tuple[Standing, ...]:
    """Every toolchain edgec knows, by name."""
    return tuple(_standing(toolchain, root) for toolchain in all_toolchains())


def _standing(toolchain: Toolchain, root: Path) -> Standing:
    environment = installed(toolchain, root)
    own = None if environment is None else environment.folder
    stale = [folder for folder in environment_folders(toolchain, root) if folder != own]
    stale += [folder for folder in root_folders(toolchain, root) if not is_present_root(folder, toolchain)]
    return Standing(toolchain, environment, 0 if own is None else folder_bytes(own), tuple(stale))


def dispensable(root: Path) -> dict[Path, int]:
    """What no build needs: stale environments, what killed installs left, kept wheels; with their sizes in bytes."""
    stale = [folder for standing in inventory(root) for folder in standing.stale]
    wheels = wheels_folder(root)
    found = [*stale, *sorted(root.glob(f"{PARTIAL}*")), *([wheels] if wheels.is_dir() else [])]
    return {folder: folder_bytes(folder) for folder in found}


def dispose(folder: Path) -> bool:
    """Removes something that `dispensable` named; False if it is in use, so that it stays. Raises ToolError."""
    if folder == wheels_folder(folder.parent):
        with unless_held(wheels_lock(folder.parent), hint=CACHE_HINT) as free, explained(folder, hint=CACHE_HINT):
            if free:
                delete(folder)
        return free
    # The name of the environment that a killed install was making, or a removal was removing.
    name = folder.name.removeprefix(PARTIAL)
    environment = folder if name == folder.name else folder.with_name(name.rpartition("-")[0])
    with unless_held(use_lock(environment), hint=CACHE_HINT) as free, unless_held(work_lock(environment)) as idle:
        if not (free and idle):
            return False
        with explained(folder, hint=CACHE_HINT):
            sweep(environment)
            delete(folder)
    return True
