"""Finds a Python for a toolchain: the one named in the environment, edgec's own, then those on PATH.

Rule: a Python is asked for its version, not believed by its name: a version manager's `python3.12` may start nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import ToolError
from edgec.toolchain.definition import Toolchain
from edgec.toolchain.process import run_tool

# A Debian without python3-venv has `venv` and lacks `ensurepip`.
_ASK = (
    "import importlib.util as u, json, sys;"
    "print(json.dumps([sys.implementation.name, sys.version_info[:3], u.find_spec('ensurepip') is not None]))"
)
_ASK_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Interpreter:
    """A CPython 3. `version` is `3.11.7`."""

    path: Path
    version: str

    @property
    def minor(self) -> int:
        """The 11 in 3.11.7."""
        return int(self.version.split(".")[1])


def variable(minor: int) -> str:
    """The environment variable that names a Python 3 of this minor version."""
    return f"EDGEC_PYTHON_3_{minor}"


def find_interpreter(toolchain: Toolchain, env: Mapping[str, str]) -> Interpreter:
    """The first Python that the toolchain can use. Raises ToolError, which says what was looked at."""
    without_venv: list[Path] = []
    for path in _named(toolchain.python_minors, env):
        found = _ask(path)
        if found is None or found[0].minor not in toolchain.python_minors:
            raise _misnamed(path, found, toolchain, env)
    for path in dict.fromkeys(_candidates(toolchain.python_minors, env)):
        found = _ask(path)
        if found is not None and found[0].minor in toolchain.python_minors:
            interpreter, has_venv = found
            if has_venv:
                return interpreter
            without_venv.append(path)
    raise _missing(toolchain, without_venv)


def _named(minors: range, env: Mapping[str, str]) -> Iterator[Path]:
    """What the environment names, with the newest first."""
    for minor in reversed(minors):
        if text := env.get(variable(minor)):
            yield Path(text)


def _candidates(minors: range, env: Mapping[str, str]) -> Iterator[Path]:
    yield from _named(minors, env)
    yield Path(sys.executable)
    # The oldest first: it has the most wheels.
    for name in (*(f"python3.{minor}" for minor in minors), "python3"):
        for folder in env.get("PATH", os.defpath).split(os.pathsep):
            if path := shutil.which(name, path=folder or "."):
                yield Path(path)


def _ask(path: Path) -> tuple[Interpreter, bool] | None:
    """The interpreter and whether it can make environments; None if it is no CPython 3 that runs."""
    try:
        with tempfile.TemporaryDirectory(prefix="edgec-python-") as folder:
            log = Path(folder) / "log"
            answer = run_tool([str(path), "-I", "-c", _ASK], log=log, timeout_s=_ASK_TIMEOUT_S, env=os.environ)
        name, version, has_ensurepip = json.loads(answer)
    except (ToolError, OSError, ValueError, TypeError):
        # It does not start, is a Python 2, or is something else.
        return None
    if name != "cpython" or version[0] != 3:
        return None
    return Interpreter(path.absolute(), ".".join(str(n) for n in version)), has_ensurepip


def _misnamed(
    path: Path, found: tuple[Interpreter, bool] | None, toolchain: Toolchain, env: Mapping[str, str]
) -> ToolError:
    name = next(n for minor in toolchain.python_minors if env.get(n := variable(minor)) == str(path))
    what = "is no Python that runs" if found is None else f"is Python {found[0].version}"
    return ToolError.of(
        f"{name} names {path}, which {what}; the toolchain `{toolchain.name}` needs Python {toolchain.python}",
        hint=f"correct {name}, or unset it",
    )


def _missing(toolchain: Toolchain, without_venv: list[Path]) -> ToolError:
    minors = toolchain.python_minors
    if without_venv:
        message = f"{without_venv[0]} cannot make environments: it lacks `ensurepip`"
        return ToolError.of(message, hint="install its venv package (on Debian: python3-venv)")
    names = ", ".join(f"python3.{minor}" for minor in minors)
    return ToolError.of(
        f"the toolchain `{toolchain.name}` needs Python {toolchain.python}, and there is none: edgec runs on Python "
        f"3.{sys.version_info.minor}, and none of {names} on PATH runs",
        hint=f"install one of them, or name one: {variable(minors.start)}=/usr/bin/python3.{minors.start}",
    )
