"""Makes and removes environments: beside, verified, then renamed; one process at a time, the others wait.

Rules: pip installs exactly the lock, by hash and without dependencies of its own finding; torch comes first, from a
CPU build; wheels are kept, so that the next install needs no network; a killed install leaves nothing that is used.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edgec.documents.canonical import canonical_json
from edgec.errors import ToolError
from edgec.events import ActionFinished, ActionStarted, Note, Progress, Reporter
from edgec.store.atomic import explained, free_bytes, fsync_folder, write_file
from edgec.store.locks import exclusive, shared, unless_held
from edgec.store.paths import CACHE_HINT
from edgec.store.remains import delete
from edgec.toolchain.definition import Toolchain, this_platform
from edgec.toolchain.dialogue import run_module
from edgec.toolchain.environment import (
    RECORD,
    Environment,
    folder_name,
    installed,
    read_environment,
    record_of,
    use_lock,
    work_lock,
)
from edgec.toolchain.interpreter import Interpreter, find_interpreter
from edgec.toolchain.pip import Pip
from edgec.toolchain.surroundings import for_tool
from edgec.toolchain.user_wheel import UserWheel, find_user_wheel
from edgec.toolchain.verification import verified_versions

_STEPS = ("python", "wheels", "install", "verify")
PARTIAL = ".partial-"
_VENV_TIMEOUT_S = 300.0


def install(toolchain: Toolchain, root: Path, *, offline: bool, report: Reporter, log: Path) -> Environment:
    """The environment of `toolchain` under `root`, made if it is not there.

    `offline`: pip opens no connection. Raises ToolError: no fitting Python, platform, disk or wheels; or what was
    installed is not what the lock says. Raises InputError for a wheel that the user must bring and did not.
    """
    own = None
    if toolchain.user_wheel is None:
        present = installed(toolchain, root)
        if present is not None:
            return present
    else:
        own = find_user_wheel(toolchain, os.environ)
    _refuse_platform(toolchain)
    interpreter = find_interpreter(toolchain if own is None else own.suited(toolchain), os.environ)
    folder = root / folder_name(toolchain, interpreter.minor, None if own is None else own.digest)
    note = Note(f"another process is installing the toolchain `{toolchain.name}`; waiting for it")
    with exclusive(work_lock(folder), waiting=lambda: report(note), hint=CACHE_HINT):
        present = read_environment(toolchain, folder)
        if present is not None:
            return present
        with explained(root, hint=CACHE_HINT):
            sweep(folder)
        _refuse_full_disk(toolchain, root)
        return _make(toolchain, folder, interpreter, own=own, offline=offline, report=report, log=log)


def remove(toolchain: Toolchain, root: Path) -> int:
    """Removes the toolchain's environments and emulated roots, also of earlier locks, and returns the bytes freed.

    Raises ToolError when one is in use.
    """
    freed = 0
    for folder in (*environment_folders(toolchain, root), *root_folders(toolchain, root)):
        size = folder_bytes(folder)
        with unless_held(use_lock(folder), hint=CACHE_HINT) as free:
            if not free:
                raise ToolError.of(
                    f"the toolchain `{toolchain.name}` is in use", place=str(folder), hint="wait until the build ends"
                )
            with exclusive(work_lock(folder), hint=CACHE_HINT), explained(folder, hint=CACHE_HINT):
                sweep(folder)
                _delete_whole(folder)
        freed += size
    return freed


def environment_folders(toolchain: Toolchain, root: Path) -> list[Path]:
    """The folders of this toolchain's environments, of whatever lock."""
    name = toolchain.name
    return sorted(p for p in root.glob(f"{name}-*") if p.is_dir() and p.name.rpartition("-")[0] == name)


def root_folders(toolchain: Toolchain, root: Path) -> list[Path]:
    """The folders of its emulated roots, of whatever lock: see `toolchain.emulated`."""
    return sorted(p for p in root.glob(f"{toolchain.name}-aarch64-*") if p.is_dir())


def wheels_folder(root: Path) -> Path:
    """Where wheels are kept for the next install."""
    return root / "wheels"


def wheels_lock(root: Path) -> Path:
    """The lock that those who use the kept wheels share."""
    return root / "locks" / "wheels.use"


def folder_bytes(folder: Path) -> int:
    """The size of all files in `folder`."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if not p.is_dir())


def sweep(folder: Path) -> None:
    """Removes what killed installs of `folder` left; its work lock must be held. Raises OSError."""
    for remains in folder.parent.glob(f"{PARTIAL}{folder.name}-*"):
        # A pip that has just lost its edgec may still be dying in there.
        shutil.rmtree(remains, ignore_errors=True)


def _delete_whole(folder: Path) -> None:
    """Removes an environment so that a kill leaves no half of it under its name. Raises OSError."""
    if folder.exists():
        doomed = folder.with_name(f"{PARTIAL}{folder.name}-removed")
        delete(doomed)
        folder.rename(doomed)
        delete(doomed)


def _make(
    toolchain: Toolchain,
    folder: Path,
    interpreter: Interpreter,
    *,
    own: UserWheel | None,
    offline: bool,
    report: Reporter,
    log: Path,
) -> Environment:
    action = f"toolchain {toolchain.name}"
    started = time.monotonic()
    report(ActionStarted(action, "toolchain", f"not installed; Python {interpreter.version} at {interpreter.path}"))

    def step(name: str, detail: str) -> None:
        report(Progress(action, _STEPS.index(name), len(_STEPS), "steps", detail))

    with _partial(folder) as partial, shared(wheels_lock(folder.parent), hint=CACHE_HINT):
        step("python", "making the environment")
        venv = ["venv", "--prompt", toolchain.name, str(partial)]
        run_module(interpreter.path, venv, log=log, timeout_s=_VENV_TIMEOUT_S, env=for_tool(os.environ, os.defpath))
        pip = Pip(toolchain, partial / "bin" / "python", wheels_folder(folder.parent), log, offline)
        step("wheels", "finding the wheels" if offline else "downloading the wheels")
        wheels = pip.collect(partial / "wheels")
        step("install", "installing")
        pip.install(wheels, own)
        step("verify", "verifying")
        versions = verified_versions(toolchain, partial / "bin" / "python", log, own)
        with explained(folder, hint=CACHE_HINT):
            pip.keep(wheels)
            _relocate(partial, folder)
            # Made for this user only, as temporary folders are.
            partial.chmod(0o755)
            write_file(
                partial / RECORD,
                canonical_json(record_of(toolchain, partial, versions, None if own is None else own.digest)),
            )
            # Thousands of files of pip's: all on the disk before the name says that they are.
            os.sync()
            _delete_whole(folder)
            partial.rename(folder)
            fsync_folder(folder.parent)
    report(ActionFinished(action, "toolchain", cached=False, wall_s=time.monotonic() - started))
    environment = read_environment(toolchain, folder)
    if environment is None:
        raise ToolError.of("the environment changed while it was made", place=str(folder), hint="install it again")
    return environment


@contextlib.contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """A folder beside the final one, which is gone afterwards unless it was renamed."""
    with explained(folder, hint=CACHE_HINT):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{folder.name}-", dir=folder.parent))
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _relocate(partial: Path, folder: Path) -> None:
    """Lets the scripts in bin/, which name their Python by its full path, name the one at the final place."""
    old, new = str(partial).encode(), str(folder).encode()
    for script in (partial / "pyvenv.cfg", *(partial / "bin").iterdir()):
        if script.is_file() and not script.is_symlink():
            content = script.read_bytes()
            if old in content:
                script.write_bytes(content.replace(old, new))


def _refuse_platform(toolchain: Toolchain) -> None:
    if this_platform() not in toolchain.platforms:
        raise ToolError.of(
            f"the toolchain `{toolchain.name}` runs on {' and '.join(toolchain.platforms)}, not on {this_platform()}",
            hint="build on such a machine",
        )


def _refuse_full_disk(toolchain: Toolchain, root: Path) -> None:
    free_mib = free_bytes(root) >> 20
    if free_mib < toolchain.disk_mib:
        raise ToolError.of(
            f"the toolchain `{toolchain.name}` needs {toolchain.disk_mib} MiB of disk, and {free_mib} MiB are free",
            place=str(root),
            hint="free space (`edgec clean` empties the store), or set EDGEC_CACHE to a larger disk",
        )
