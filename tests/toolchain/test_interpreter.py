"""A Python is found by asking it; a name that starts nothing, or something else, does not mislead."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tiny_wheels import toolchain_of

from edgec.errors import ToolError
from edgec.toolchain.interpreter import find_interpreter, variable

MINOR = sys.version_info.minor
OTHER = MINOR + 1


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def pretending(path: Path, minor: int, *, ensurepip: bool = True, name: str = "cpython") -> Path:
    """A program that answers as a Python of that version does."""
    return program(path, f"echo '[\"{name}\", [3, {minor}, 4], {str(ensurepip).lower()}]'")


def toolchain(tmp_path: Path, *minors: int):
    return toolchain_of(tmp_path / "some.lock", python_minors=range(minors[0], minors[-1] + 1))


def test_edgec_s_own_python_is_taken_when_it_fits(tmp_path: Path) -> None:
    found = find_interpreter(toolchain(tmp_path, MINOR), {"PATH": ""})
    assert found.path == Path(sys.executable)
    assert found.version == ".".join(str(n) for n in sys.version_info[:3])
    assert found.minor == MINOR


def test_the_variable_comes_before_all(tmp_path: Path) -> None:
    named = pretending(tmp_path / "own" / "anything", OTHER)
    pretending(tmp_path / "bin" / f"python3.{OTHER}", OTHER)
    env = {variable(OTHER): str(named), "PATH": str(tmp_path / "bin")}
    assert find_interpreter(toolchain(tmp_path, MINOR, OTHER), env).path == named
    assert variable(OTHER) == f"EDGEC_PYTHON_3_{OTHER}"


@pytest.mark.parametrize(
    ("text", "what"),
    [("exit 1", "is no Python that runs"), ("echo '[\"cpython\", [3, 7, 0], true]'", "is Python 3.7.0")],
)
def test_a_variable_that_misleads_is_an_error(tmp_path: Path, text: str, what: str) -> None:
    named = program(tmp_path / "python", text)
    with pytest.raises(ToolError, match=what) as failed:
        find_interpreter(toolchain(tmp_path, MINOR, OTHER), {variable(OTHER): str(named)})
    assert failed.value.diagnostics[0].hint == f"correct EDGEC_PYTHON_3_{OTHER}, or unset it"


def test_what_starts_nothing_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "a" / f"python3.{OTHER}", "echo 'not installed' >&2; exit 127")
    program(tmp_path / "b" / f"python3.{OTHER}", "echo something else")
    pretending(tmp_path / "c" / f"python3.{OTHER}", OTHER, name="pypy")
    good = pretending(tmp_path / "d" / f"python3.{OTHER}", OTHER)
    path = os.pathsep.join(str(tmp_path / name) for name in "abcd")
    assert find_interpreter(toolchain(tmp_path, OTHER), {"PATH": path}).path == good


def test_one_without_ensurepip_says_what_to_install(tmp_path: Path) -> None:
    lacking = pretending(tmp_path / f"python3.{OTHER}", OTHER, ensurepip=False)
    with pytest.raises(ToolError, match=f"{lacking} cannot make environments") as failed:
        find_interpreter(toolchain(tmp_path, OTHER), {"PATH": str(tmp_path)})
    assert "python3-venv" in (failed.value.diagnostics[0].hint or "")


def test_when_there_is_none_the_error_names_the_commands_and_the_variable(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as failed:
        find_interpreter(toolchain(tmp_path, 98, 99), {"PATH": str(tmp_path)})
    (diagnostic,) = failed.value.diagnostics
    assert diagnostic.message == (
        f"the toolchain `some` needs Python >=3.98,<3.100, and there is none: edgec runs on Python 3.{MINOR}, and none "
        "of python3.98, python3.99 on PATH runs"
    )
    assert diagnostic.hint == "install one of them, or name one: EDGEC_PYTHON_3_98=/usr/bin/python3.98"
