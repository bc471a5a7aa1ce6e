"""Makes the emulated root: Debian's packages unpacked, the lock's aarch64 wheels beside their Python.

Rules: made beside and renamed, after its Python ran in qemu and imported what the toolchain is for; the wheels are
exactly the lock's, by hash; a root that stands needs no network.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.documents.canonical import canonical_json
from edgec.errors import ToolError
from edgec.events import ActionFinished, ActionStarted, Note, Progress, Reporter
from edgec.store.atomic import explained, free_bytes, fsync_folder, write_file
from edgec.store.locks import exclusive
from edgec.store.paths import CACHE_HINT
from edgec.toolchain.dialogue import run_module
from edgec.toolchain.emulated.debian import fetch_packages, require_apt, unpack_packages
from edgec.toolchain.emulated.qemu import Qemu
from edgec.toolchain.emulated.root import LAYOUT, RECORD, Root, emulated_variables, read_root, root_name
from edgec.toolchain.environment import Environment, in_use, work_lock
from edgec.toolchain.install import PARTIAL, sweep, wheels_folder
from edgec.toolchain.process import run_tool
from edgec.toolchain.surroundings import for_pip

_DISK_MIB = 600
_ACTION = "emulated root"
_STEPS = ("packages", "unpack", "wheels", "verify")
_PIP_TIMEOUT_S = 3600.0
_VERIFY_TIMEOUT_S = 600.0
# Where Debian's Python looks, also under `-I`.
_SITE = "usr/lib/python3/dist-packages"
_GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014")
# Any processor of 64-bit ARM will do to see whether it works.
_ANY_CPU = "cortex-a76"


@dataclass(frozen=True)
class _Maker:
    """What makes a root. `environment`: the toolchain on this machine, whose pip and whose lock are used."""

    environment: Environment
    qemu: Qemu
    log: Path


def emulated_root(environment: Environment, qemu: Qemu, *, offline: bool, report: Reporter, log: Path) -> Root:
    """The root with the aarch64 wheels of the environment's toolchain, beside the environment; made if not there.

    Raises ToolError: no apt, no network, no disk, or a Python that does not run.
    """
    parent = environment.folder.parent
    folder = parent / root_name(environment.toolchain)
    standing = read_root(folder)
    if standing is not None:
        return standing
    if offline:
        raise ToolError.of(
            "the emulated root is not there, and --offline opens no connection",
            place=str(folder),
            hint="run the same once without --offline, or bring this folder of a machine like this one",
        )
    require_apt()
    note = Note("another process is making the emulated root; waiting for it")
    with exclusive(work_lock(folder), waiting=lambda: report(note), hint=CACHE_HINT):
        standing = read_root(folder)
        if standing is not None:
            return standing
        with explained(parent, hint=CACHE_HINT):
            sweep(folder)
            shutil.rmtree(folder, ignore_errors=True)
        _refuse_full_disk(parent)
        with in_use(environment):
            return _make(_Maker(environment, qemu, log), folder, report)


def _make(maker: _Maker, folder: Path, report: Reporter) -> Root:
    started = time.monotonic()
    report(ActionStarted(_ACTION, "toolchain", "not there; Debian's arm64 packages and aarch64 wheels"))
    with explained(folder, hint=CACHE_HINT):
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{folder.name}-", dir=folder.parent))
        maker.log.unlink(missing_ok=True)
    try:
        record = _fill(maker, partial, report)
        with explained(folder, hint=CACHE_HINT):
            write_file(partial / "root" / RECORD, canonical_json(record))
            # Thousands of files: all on the disk before the name says that they are.
            os.sync()
            (partial / "root").rename(folder)
            fsync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    report(ActionFinished(_ACTION, "toolchain", cached=False, wall_s=time.monotonic() - started))
    made = read_root(folder)
    if made is None:
        raise ToolError.of("the emulated root changed while it was made", place=str(folder), hint="run it again")
    return made


def _fill(maker: _Maker, partial: Path, report: Reporter) -> dict[str, Any]:
    """Makes the root in `partial / "root"`; its record."""

    def step(name: str, detail: str) -> None:
        report(Progress(_ACTION, _STEPS.index(name), len(_STEPS), "steps", detail))

    root = partial / "root"
    root.mkdir()
    step("packages", "fetching Debian's packages for arm64")
    packages = fetch_packages(partial / "apt", maker.log)
    step("unpack", f"unpacking {len(packages)} packages")
    digests = unpack_packages(packages, root, maker.log)
    minor = _python_minor(root)
    step("wheels", "fetching the wheels for aarch64")
    _install_wheels(maker.environment, root / _SITE, minor, maker.log)
    step("verify", "starting it in qemu")
    _verify(maker, Root(root, ""))
    return {"packages": dict(digests), "wheels": maker.environment.lock_digest, "python": minor, "layout": LAYOUT}


def _python_minor(root: Path) -> int:
    """Of `usr/bin/python3`, a link to `python3.11`."""
    link = root / "usr/bin/python3"
    target = link.readlink() if link.is_symlink() else Path()
    name = target.name.removeprefix("python3.")
    if not name.isdigit():
        raise ToolError.of(f"Debian's python3 leads to `{target}`", place=str(link), hint="report this as a bug")
    return int(name)


def _install_wheels(environment: Environment, site: Path, minor: int, log: Path) -> None:
    toolchain = environment.toolchain
    if minor not in toolchain.python_minors:
        raise ToolError.of(
            f"this system's packages have Python 3.{minor}, and the wheels are locked for {toolchain.python}",
            hint="make the root on Debian 12 or 13, and bring it here",
        )
    platforms = [part for glibc in _GLIBC for part in ("--platform", f"{glibc}_aarch64")]
    arguments = [
        "pip", "install", "--quiet", "--target", str(site), "--no-deps", "--no-compile", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", f"3.{minor}", *platforms,
        "--find-links", str(wheels_folder(environment.folder.parent)),
        "--require-hashes", "--requirement", str(toolchain.lock),
    ]  # fmt: skip
    try:
        run_module(
            environment.python, arguments, log=log, timeout_s=_PIP_TIMEOUT_S, env=for_pip(os.environ), append=True
        )
    except ToolError as error:
        raise ToolError.of(
            f"the wheels of the emulated root cannot be installed: {error.diagnostics[0].message}",
            hint="check the network, the proxy and where pip looks (`python -m pip config list`); "
            f"the whole output is in {log}",
        ) from error


def _verify(maker: _Maker, root: Root) -> None:
    """It is an ARM, and has what the toolchain is for. Raises ToolError."""
    code = f"import platform, {', '.join(maker.environment.toolchain.smoke)}; print('runs on', platform.machine())"
    command = [*maker.qemu.launcher(root.folder, _ANY_CPU), str(root.python), "-I", "-B", "-c", code]
    env = emulated_variables(os.environ)
    told = run_tool(command, log=maker.log, timeout_s=_VERIFY_TIMEOUT_S, env=env, append=True)
    if "runs on aarch64" not in told:
        raise ToolError.of("the emulated Python does not say that it runs on aarch64", hint=f"see {maker.log}")


def _refuse_full_disk(parent: Path) -> None:
    free_mib = free_bytes(parent) >> 20
    if free_mib < _DISK_MIB:
        raise ToolError.of(
            f"the emulated root needs {_DISK_MIB} MiB of disk, and {free_mib} MiB are free",
            place=str(parent),
            hint="free space (`edgec clean` empties the store), or set EDGEC_CACHE to a larger disk",
        )
