"""`edgec check`, `edgec schema` and `edgec targets` as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgec.cli import run
from edgec.commands.schema import document_schema
from edgec.target.load import list_targets

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_check_says_ok(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "recipes/quickstart.yaml", "recipes/docs-llama-browser.yaml"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2
    assert out[0].startswith("recipes/quickstart.yaml: ok: docs-llama 1.0.0")


def test_check_shows_the_mistakes_of_all_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("schema: edgec/recipe/v1\n", encoding="utf-8")
    assert run(["check", str(wrong), "recipes/none.yaml", "recipes/quickstart.yaml", "--set", "batch=0"]) == 2
    shown = capsys.readouterr().err
    for part in (
        f"{wrong}:1:1: error: `name` is missing",
        "recipes/none.yaml: error: no such file",
        "--set:1:7: error",
    ):
        assert part in shown


def test_check_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "recipes/quickstart.yaml", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["recipes"][0]["artifacts"] == [{"format": "gguf", "scheme": "q4_k_m"}]
    assert run(["check", "recipes/quickstart.yaml", "--json", "--set", "batch=0"]) == 2
    error = json.loads(capsys.readouterr().out)
    assert [d["file"] for d in error["diagnostics"]] == ["--set"]


def test_schema_to_a_file_and_to_the_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["schema", "target"]) == 0
    assert capsys.readouterr().out == document_schema("target")
    assert run(["schema", "target", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert (result["event"], result["document"]) == ("result", "target")
    assert result["schema"] == json.loads(document_schema("target"))
    path = tmp_path / "r.json"
    assert run(["schema", "-o", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == document_schema("recipe")
    assert "yaml-language-server" in capsys.readouterr().out


def test_targets_lists_all_and_shows_provenance(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in list_targets())
    for name in list_targets():
        assert run(["targets", name]) == 0
        profile = capsys.readouterr().out
        assert any(f"{kind}: " in profile for kind in ("measured", "source", "datasheet"))
        assert max(len(line) for line in profile.splitlines()) <= 120
    assert run(["targets", "rk3588"]) == 2
    assert "did you mean `rk3588-8gb`?" in capsys.readouterr().err


def test_targets_in_json_is_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["targets", "pi5-8gb", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["target"]["schema"] == "edgec/target/v1"
