"""The emulated root: a folder with Debian's Python for 64-bit ARM and the aarch64 wheels of a toolchain's lock.

Rules: made beside and renamed, after its Python ran in qemu and imported what the toolchain is for; the wheels are
exactly the lock's, by hash; a root that stands needs no network. Its digest is of every package and of the lock.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.documents.canonical import canonical_json, sha256_json
from edgec.errors import ToolError
from edgec.events import ActionFinished, ActionStarted, Note, Progress, Reporter
from edgec.store.atomic import explained, free_bytes, fsync_folder, write_file
from edgec.store.locks import exclusive
from edgec.store.paths import CACHE_HINT
from edgec.toolchain.dialogue import run_module
from edgec.toolchain.emulated.debian import PACKAGES, fetch_packages, require_apt, unpack_packages
from edgec.toolchain.emulated.qemu import Qemu
from edgec.toolchain.environment import Environment, in_use, work_lock
from edgec.toolchain.install import PARTIAL, sweep, wheels_folder
from edgec.toolchain.process import run_tool
from edgec.toolchain.surroundings import for_pip, for_tool

_RECORD = "edgec-root.json"
_LAYOUT = 1
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
class Root:
    """A root that is whole. `digest`: `sha256:<hex>` of the packages it is made of and of the wheels' lock."""

    folder: Path
    digest: str

    @property
    def python(self) -> Path:
        """Its Python, for 64-bit ARM."""
        return self.folder / "usr/bin/python3"


def emulated_root(
    environment: Environment, qemu: Qemu, *, offline: bool, report: Reporter, log: Path, cpu: str = _ANY_CPU
) -> Root:
    """The root with the aarch64 wheels of the environment's toolchain, beside the environment; made if not there.

    Raises ToolError: no apt, no network, no disk, or a Python that does not run.
    """
    parent = environment.folder.parent
    folder = parent / root_name(environment)
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
            return _make(environment, qemu, folder, report, log, cpu)


def root_name(environment: Environment) -> str:
    """`emulated-aarch64-<16 hex>`: of this system's release, whose packages it is made of, and of the lock."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    made_from = {
        "system": [release.get(name, "") for name in ("ID", "VERSION_ID", "VERSION_CODENAME")],
        "packages": list(PACKAGES),
        "lock": environment.lock_digest,
        "layout": _LAYOUT,
    }
    return f"emulated-aarch64-{sha256_json(made_from).removeprefix('sha256:')[:16]}"


def read_root(folder: Path) -> Root | None:
    """The root in `folder`, or None if it is not whole."""
    try:
        record = json.loads((folder / _RECORD).read_bytes())
        root = Root(folder, sha256_json(record))
        return root if root.python.is_file() else None
    except (OSError, ValueError):
        return None


def _make(environment: Environment, qemu: Qemu, folder: Path, report: Reporter, log: Path, cpu: str) -> Root:
    started = time.monotonic()
    report(ActionStarted(_ACTION, "toolchain", "not there; Debian's arm64 packages and aarch64 wheels"))

    def step(name: str, detail: str) -> None:
        report(Progress(_ACTION, _STEPS.index(name), len(_STEPS), "steps", detail))

    with explained(folder, hint=CACHE_HINT):
        partial = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{folder.name}-", dir=folder.parent))
    try:
        log.unlink(missing_ok=True)
        root = partial / "root"
        root.mkdir()
        step("packages", "fetching Debian's packages for arm64")
        packages = fetch_packages(partial / "apt", log)
        step("unpack", f"unpacking {len(packages)} packages")
        digests = unpack_packages(packages, root, log)
        step("wheels", "fetching the wheels for aarch64")
        minor = _python_minor(root)
        _install_wheels(environment, root / _SITE, minor, log)
        step("verify", "starting it in qemu")
        _verify(environment, qemu, Root(root, ""), cpu, log)
        with explained(folder, hint=CACHE_HINT):
            record = {"packages": dict(digests), "wheels": environment.lock_digest, "python": minor, "layout": _LAYOUT}
            write_file(root / _RECORD, canonical_json(record))
            os.sync()
            root.rename(folder)
            fsync_folder(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    report(ActionFinished(_ACTION, "toolchain", cached=False, wall_s=time.monotonic() - started))
    made = read_root(folder)
    if made is None:
        raise ToolError.of("the emulated root changed while it was made", place=str(folder), hint="run it again")
    return made


def _python_minor(root: Path) -> int:
    """Of `usr/bin/python3`, a link to `python3.11`."""
    link = root / "usr/bin/python3"
    target = os.readlink(link) if link.is_symlink() else ""
    name = Path(target).name.removeprefix("python3.")
    if not name.isdigit():
        raise ToolError.of(f"Debian's python3 leads to {target!r}", place=str(link), hint="report this as a bug")
    return int(name)


def _install_wheels(environment: Environment, site: Path, minor: int, log: Path) -> None:
    minors = environment.toolchain.python_minors
    if minor not in minors:
        raise ToolError.of(
            f"this system's packages have Python 3.{minor}, and the wheels are locked for {environment.toolchain.python}",
            hint="make the root on Debian 12 or 13, and bring it here",
        )
    platforms = [part for glibc in _GLIBC for part in ("--platform", f"{glibc}_aarch64")]
    arguments = [
        "pip", "install", "--quiet", "--target", str(site), "--no-deps", "--no-compile", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", f"3.{minor}", *platforms,
        "--find-links", str(wheels_folder(environment.folder.parent)),
        "--require-hashes", "--requirement", str(environment.toolchain.lock),
    ]  # fmt: skip
    try:
        run_module(environment.python, arguments, log=log, timeout_s=_PIP_TIMEOUT_S, env=for_pip(os.environ), append=True)
    except ToolError as error:
        raise ToolError.of(
            f"the wheels of the emulated root cannot be installed: {error.diagnostics[0].message}",
            hint="check the network, the proxy and where pip looks (`python -m pip config list`); "
            f"the whole output is in {log}",
        ) from error


def _verify(environment: Environment, qemu: Qemu, root: Root, cpu: str, log: Path) -> None:
    """It is an ARM, and has what the toolchain is for. Raises ToolError."""
    code = f"import platform, {', '.join(environment.toolchain.smoke)}; print('runs on', platform.machine())"
    command = [*qemu.launcher(root.folder, cpu), str(root.python), "-I", "-B", "-c", code]
    told = run_tool(
        command, log=log, timeout_s=_VERIFY_TIMEOUT_S, env=emulated_variables(os.environ), append=True
    )
    if "runs on aarch64" not in told:
        raise ToolError.of("the emulated Python does not say that it runs on aarch64", hint=f"see {log}")


def emulated_variables(env: Mapping[str, str]) -> dict[str, str]:
    """What a program in the root gets."""
    return {
        **for_tool(env, "/usr/bin"),
        # abort() starts a debugger otherwise; threads that spin while they wait cost emulated time.
        "GGML_NO_BACKTRACE": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _refuse_full_disk(parent: Path) -> None:
    free_mib = free_bytes(parent) >> 20
    if free_mib < _DISK_MIB:
        raise ToolError.of(
            f"the emulated root needs {_DISK_MIB} MiB of disk, and {free_mib} MiB are free",
            place=str(parent),
            hint="free space (`edgec clean` empties the store), or set EDGEC_CACHE to a larger disk",
        )
