"""The step that fetches the wheels of a Dify package for operators without internet.

Rule: pip finds them, with the user's own settings; what is kept is what the lock names, by digest, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgec.build.context import StepContext
from edgec.bundle.write import FileChangedError
from edgec.deploy.dify.wheels import ARCHS, Arch, Wheel, locked_wheels, platform_options
from edgec.documents.canonical import sha256_bytes, sha256_file
from edgec.errors import ToolError
from edgec.events import Progress
from edgec.plan.model import Action
from edgec.store.actions import Result, Workspace
from edgec.store.atomic import explained
from edgec.store.remains import delete, make_usable
from edgec.toolchain.definition import find_toolchain
from edgec.toolchain.dialogue import run_module
from edgec.toolchain.interpreter import find_interpreter
from edgec.toolchain.surroundings import for_pip

_VENV_TIMEOUT_S = 300.0
_PIP_TIMEOUT_S = 3600.0
# Wheels that one pip fetches: few enough to show progress, and to lose little when it is killed.
_BATCH = 8


def run_wheels(context: StepContext, action: Action, work: Workspace) -> Result:
    """Fetches what the workspace lacks of the locked wheels. Raises ToolError: no network, or other files."""
    wheels = locked_wheels()
    log = context.logs / "wheels.log"
    python: Path | None = None
    total = sum(w.size_bytes for w in wheels)
    for arch, batch in _batches([w for w in wheels if not _is_there(work.folder, w)]):
        done = sum(w.size_bytes for w in wheels if (work.folder / w.file).exists())
        context.report(Progress(action.name, done, total, "bytes", arch))
        python = python or _python_with_pip(work.folder / "pip", log)
        _fetch(python, arch, batch, work.folder, log, offline=context.plan.source.offline)
    context.report(Progress(action.name, total, total, "bytes"))
    for wheel in wheels:
        if not _is_there(work.folder, wheel):
            raise ToolError.of(
                "pip left another file than the one that is locked",
                place=str(work.folder / wheel.file),
                hint=f"see {log}, and check where pip looks (`python -m pip config list`)",
            )
    return work.commit({w.file: w.digest for w in wheels}, {"size_bytes": total})


def wheel_contents(result: Result) -> Mapping[str, bytes]:
    """The wheels of a result of `run_wheels`, by file name. Raises FileChangedError for one that rotted on the disk."""
    contents = {f.name: result.path(f.name).read_bytes() for f in result.files}
    for file in result.files:
        if sha256_bytes(contents[file.name]) != file.digest:
            raise FileChangedError(result.path(file.name))
    return contents


def _is_there(folder: Path, wheel: Wheel) -> bool:
    path = folder / wheel.file
    return path.is_file() and path.stat().st_size == wheel.size_bytes and sha256_file(path) == wheel.digest


def _batches(lacking: Sequence[Wheel]) -> Iterator[tuple[Arch, Sequence[Wheel]]]:
    """Each wheel once, with a machine that it is for."""
    for arch in ARCHS:
        own = [w for w in lacking if w.archs[0] == arch]
        for begin in range(0, len(own), _BATCH):
            yield arch, own[begin : begin + _BATCH]


def _python_with_pip(folder: Path, log: Path) -> Path:
    """An environment's Python: edgec's own may have no pip. It goes with the rest of the workspace."""
    with explained(folder):
        delete(folder)
        make_usable(folder)
    interpreter = find_interpreter(find_toolchain("dify"), os.environ)
    run_module(interpreter.path, ["venv", str(folder)], log=log, timeout_s=_VENV_TIMEOUT_S, env=dict(os.environ))
    return folder / "bin" / "python"


def _fetch(python: Path, arch: Arch, wheels: Sequence[Wheel], folder: Path, log: Path, *, offline: bool) -> None:
    # Not among the results: the commit keeps only what it names.
    wanted = folder / "wanted.txt"
    with explained(wanted):
        wanted.write_text("".join(f"{w.requirement} --hash={w.digest}\n" for w in wheels), encoding="utf-8")
    options = ["--no-deps", "--require-hashes", *platform_options(arch), *(["--no-index"] if offline else [])]
    command = ["pip", "download", *options, "--dest", str(folder), "--requirement", str(wanted)]
    try:
        run_module(python, command, log=log, timeout_s=_PIP_TIMEOUT_S, env=for_pip(os.environ), append=True)
    except ToolError as error:
        (found,) = error.diagnostics
        raise ToolError.of(
            f"the wheels of the Dify package cannot be fetched: {found.message}",
            hint=f"{_advice(offline=offline)}; {found.hint}",
        ) from error


def _advice(*, offline: bool) -> str:
    if offline:
        return (
            "build once without --offline, or name a folder with the wheels in PIP_FIND_LINKS, or set "
            "`package.dify.with_wheels: false`"
        )
    return "check the network, the proxy and where pip looks (`python -m pip config list`)"
