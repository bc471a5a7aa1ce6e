"""`edgec toolchain` and what `clean` does with toolchains: text, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgec.cli import run
from edgec.toolchain.definition import find_toolchain
from edgec.toolchain.environment import folder_name


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toolchains' folder; pip has nowhere to look."""
    monkeypatch.setenv("EDGEC_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return tmp_path / "toolchains"


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def pretend_installed(root: Path, name: str) -> Path:
    """A folder that passes for the environment of a toolchain: a Python and a record."""
    toolchain = find_toolchain(name)
    folder = root / folder_name(toolchain, toolchain.python_minors.start)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_bytes(b"x" * (1 << 20))
    record = {"lock_digest": toolchain.lock_digest, "versions": {"tiny": "1.0"}, "distributions": []}
    (folder / "edgec-environment.json").write_text(json.dumps(record))
    return folder


def test_list_says_what_there_is_and_what_is_installed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pretend_installed(root, "dify")
    folder.with_name("dify-0123456789abcdef").mkdir()
    assert run(["toolchain", "list"]) == 0
    out = capsys.readouterr().out
    assert "dify         installed, 1.0 MiB; older ones: 1\n" in out
    assert "triton       not installed\n             Triton Inference Server" in out
    assert run(["toolchain", "list", "--json"]) == 0
    listed = {t["name"]: t for t in result(capsys)["toolchains"]}
    assert listed["triton"]["installed"] is None
    assert listed["triton"]["lock_digest"] == find_toolchain("triton").lock_digest
    assert listed["dify"]["installed"]["versions"] == {"tiny": "1.0"}
    assert listed["dify"]["stale"] == [str(root / "dify-0123456789abcdef")]


def test_install_offline_without_wheels_is_exit_3_and_says_what_to_do(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["toolchain", "install", "dify", "--offline"]) == 3
    err = capsys.readouterr().err
    assert "the toolchain `dify` cannot be installed" in err
    assert "No matching distribution found for" in err
    assert "run `edgec toolchain install dify` once without --offline" in err
    assert f"bring the wheels of a machine like this one to {root / 'wheels'}" in err
    assert str(root.parent / "logs" / "toolchain-dify.log") in err
    assert [p.name for p in root.iterdir()] == ["locks"]


def test_install_of_what_is_installed_needs_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pretend_installed(root, "dify")
    assert run(["toolchain", "install", "dify", "--offline", "--json"]) == 0
    (found,) = result(capsys)["toolchains"]
    assert (found["name"], found["folder"]) == ("dify", str(folder))


def test_a_wrong_name_is_exit_2_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("install", "remove"):
        assert run(["toolchain", verb, "difi"]) == 2
        assert "did you mean `dify`?" in capsys.readouterr().err


def test_remove_frees_its_own_and_says_when_there_is_none(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dify, triton = pretend_installed(root, "dify"), pretend_installed(root, "triton")
    assert run(["toolchain", "remove", "dify", "dify-next"]) == 0
    assert capsys.readouterr().out == "dify: freed 1.0 MiB\ndify-next: is not installed\n"
    assert (dify.exists(), triton.exists()) == (False, True)


def test_clean_keeps_what_is_installed_and_removes_what_no_build_needs(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pretend_installed(root, "dify")
    leftovers = [root / name for name in ("dify-0123456789abcdef", "wheels", f".partial-{folder.name}-abc")]
    for leftover in leftovers:
        leftover.mkdir()
        (leftover / "file").write_bytes(b"x" * 100)
    assert run(["clean"]) == 0
    assert all(leftover.exists() for leftover in leftovers)
    assert run(["clean", "--toolchains", "--dry-run", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert set(json.loads(lines[-1])["removed"]) == {leftover.name for leftover in leftovers}
    assert run(["clean", "--toolchains", "--json"]) == 0
    assert result(capsys)["bytes"] == 300
    assert (folder.exists(), [leftover.exists() for leftover in leftovers]) == (True, [False] * 3)
    assert run(["clean", "--toolchains", "--references"]) == 2
