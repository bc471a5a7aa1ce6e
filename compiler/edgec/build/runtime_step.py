"""The step that fetches what runs a model in a browser: locked npm packages.

Rule: npm finds it, with the user's own settings, or it lies in the folder `EDGEC_NPM_PACKAGES`; what is kept is what
the lock names, by digest. Nothing of the package is run.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tarfile
from pathlib import Path

from edgec.build.context import StepContext
from edgec.bundle.content import BundleFile
from edgec.deploy.web.emit import FOLDER
from edgec.deploy.web.runtime import WebRuntime, every_runtime
from edgec.documents.canonical import sha256_bytes
from edgec.errors import ToolError
from edgec.events import Progress
from edgec.plan.model import Action
from edgec.store.actions import Result, Workspace
from edgec.store.atomic import explained, write_file
from edgec.toolchain.process import run_tool
from edgec.toolchain.surroundings import for_npm

KEPT = "EDGEC_NPM_PACKAGES"
_TIMEOUT_S = 900.0


def run_runtime(context: StepContext, action: Action, work: Workspace) -> Result:
    """Fetches the packages that the action names, and keeps the files of them that a site needs. Raises ToolError."""
    runtimes = [r for r in every_runtime() if r.package in action.inputs]
    total, done = sum(r.size_bytes for r in runtimes), 0
    for runtime in runtimes:
        context.report(Progress(action.name, done, total, "bytes", runtime.spec))
        tarball = work.folder / runtime.tarball
        if not _is_locked(tarball, runtime):
            _bring(runtime, tarball, context.logs / "runtime.log", offline=context.plan.source.offline)
        for name, content in _contents(runtime, tarball).items():
            write_file(work.folder / name, content)
        tarball.unlink()
        done += runtime.size_bytes
        context.report(Progress(action.name, done, total, "bytes", runtime.spec))
    digests = {r.stored_name(f): f.digest for r in runtimes for f in r.files}
    return work.commit(dict(digests), {"npm": [r.spec for r in runtimes]})


def runtime_files(result: Result) -> list[BundleFile]:
    """A result of `run_runtime` as files of the site."""
    places = {r.stored_name(f): f"{FOLDER}/{r.folder}/{f.file}" for r in every_runtime() for f in r.files}
    return [BundleFile(places[f.name], result.path(f.name), "code", f.digest, f.size_bytes) for f in result.files]


def _bring(runtime: WebRuntime, tarball: Path, log: Path, *, offline: bool) -> None:
    kept = Path(os.environ[KEPT]) / runtime.tarball if os.environ.get(KEPT) else None
    if kept is not None and kept.is_file():
        with explained(tarball):
            shutil.copyfile(kept, tarball)
        source, hint = str(kept), f"lay the tarball of {runtime.spec} there (`npm pack {runtime.spec}`)"
    else:
        _pack(runtime, tarball.parent, log, offline=offline)
        source, hint = str(tarball), f"see {log}, and check npm's registry (`npm config get registry`)"
    if not _is_locked(tarball, runtime):
        tarball.unlink(missing_ok=True)
        raise ToolError.of(
            f"this is not the {runtime.spec} that is locked ({runtime.integrity})", hint=hint, place=source
        )


def _pack(runtime: WebRuntime, folder: Path, log: Path, *, offline: bool) -> None:
    """`npm pack`, which downloads a package, or takes it from npm's own cache, and runs nothing of it."""
    npm = shutil.which("npm")
    advice = f"or set {KEPT} to a folder with {runtime.tarball} (`npm pack {runtime.spec}` on another machine)"
    if npm is None:
        raise ToolError.of(
            f"the web site needs {runtime.spec} from npm, and there is no npm on PATH",
            hint=f"install Node.js, {advice}, or set `package.web: null`",
        )
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
    command = [npm, "pack", runtime.spec, f"--pack-destination={folder}", *options]
    try:
        run_tool(
            [*command, *(["--offline"] if offline else [])], log=log, timeout_s=_TIMEOUT_S, env=for_npm(os.environ)
        )
    except ToolError as error:
        (found,) = error.diagnostics
        first = "build once without --offline" if offline else "check the network, the proxy and npm's registry"
        raise ToolError.of(
            f"{runtime.spec} cannot be fetched: {found.message}", hint=f"{first}, {advice}; {found.hint}"
        ) from error


def _is_locked(tarball: Path, runtime: WebRuntime) -> bool:
    """Whether the file is, by npm's own digest, the locked tarball."""
    if not tarball.is_file() or tarball.stat().st_size != runtime.size_bytes:
        return False
    digest = hashlib.sha512(tarball.read_bytes()).digest()
    return f"sha512-{base64.b64encode(digest).decode()}" == runtime.integrity


def _contents(runtime: WebRuntime, tarball: Path) -> dict[str, bytes]:
    """The locked files of the tarball, by the names they are stored under."""
    found = {}
    with tarfile.open(tarball) as archive:
        for file in runtime.files:
            member = archive.extractfile(file.member)
            content = b"" if member is None else member.read()
            if sha256_bytes(content) != file.digest:
                raise ToolError.of(
                    f"{file.member} is not the file that is locked", place=str(tarball), hint="lock the runtime again"
                )
            found[runtime.stored_name(file)] = content
    return found
