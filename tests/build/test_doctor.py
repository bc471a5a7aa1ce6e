"""`edgec doctor` reports every finding, also on a machine where nothing can be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgec import api
from edgec.build.doctor import Finding, examine
from edgec.cli import run
from edgec.errors import ToolError

QUICKSTART = Path(__file__).parents[2] / "recipes" / "quickstart.yaml"
ALL = ["python", "llama.cpp", "cache", "disk", "memory", "cores", "signing key", "hub", "toolchains"]


def _failed(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {f.what: f for f in findings if f.required and not f.ok}


@pytest.mark.parametrize("below", [".", "deep/er"])
def test_a_cache_that_is_a_file_is_one_finding_among_all(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    findings = examine(tmp_path / "file" / below, tmp_path / "config", os.environ)
    assert [f.what for f in findings] == ALL
    assert list(_failed(findings)) == ["cache"]
    assert "EDGEC_CACHE" in (_failed(findings)["cache"].hint or "")


def test_a_configuration_folder_without_room_for_the_key_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    findings = examine(tmp_path / "cache", tmp_path / "file" / "edgec", os.environ)
    assert list(_failed(findings)) == ["signing key"]
    assert "XDG_CONFIG_HOME" in (_failed(findings)["signing key"].hint or "")


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    findings = examine(tmp_path / "cache", tmp_path / "config", os.environ)
    assert _failed(findings) == {}
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_all_of_it_and_exits_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("EDGEC_CACHE", str(tmp_path / "file"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert run(["doctor"]) == 3
    out = capsys.readouterr().out
    assert [name for name in ALL if f"  {name}: " in out] == ALL
    assert "hint: set EDGEC_CACHE to a folder you may write to" in out


def test_a_plan_needs_no_cache_and_a_build_names_it_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    shop = api.Workshop(cache=tmp_path / "file", config=tmp_path / "config")
    assert api.plan(QUICKSTART, workshop=shop).to_run
    with pytest.raises(ToolError, match="EDGEC_CACHE"):
        api.build(QUICKSTART, workshop=shop, output=tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_a_build_names_the_folder_of_the_key_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    shop = api.Workshop(cache=tmp_path / "cache", config=tmp_path / "file" / "edgec")
    with pytest.raises(ToolError, match="XDG_CONFIG_HOME"):
        api.build(QUICKSTART, workshop=shop, output=tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
