"""What the lint says of wrong repositories, and that it says nothing of good ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from lint_cases import CASES, GOOD, MODEL_PY

from edgec.cli import run
from edgec.deploy.triton.lint import lint_files, lint_repository
from edgec.errors import InputError


@pytest.mark.parametrize("name", CASES)
def test_wrong(name: str) -> None:
    case = CASES[name]
    said = lint_files(case.files, has_gpu=False)
    texts = [mistake.render() for mistake in said]
    assert len(texts) == len(case.says), texts
    for text, expected in zip(texts, case.says, strict=True):
        assert expected in text, texts
    assert all(mistake.hint for mistake in said)


def test_good() -> None:
    assert lint_files({"m/config.pbtxt": GOOD.encode(), "m/1/model.py": MODEL_PY}, has_gpu=False) == ()


def test_every_mistake_of_every_model_at_once() -> None:
    files = {"a/config.pbtxt": b"nonsense: 1", "b/config.pbtxt": b'max_batch_size: -1 backend: "python"', "c/1/x": b""}
    texts = [mistake.render() for mistake in lint_files(files)]
    assert [text.split(":")[0] for text in texts] == ["a/config.pbtxt", "b/config.pbtxt", "b/config.pbtxt", "c"]


def test_a_comment_may_hold_a_placeholder() -> None:
    text = f"# ${{name}}\n{GOOD}"
    assert lint_files({"m/config.pbtxt": text.encode(), "m/1/model.py": MODEL_PY}) == ()


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def test_a_folder_and_a_linked_version(tmp_path: Path) -> None:
    folder = _write(tmp_path / "repository", {"m/config.pbtxt": GOOD.encode(), "m/1/model.py": MODEL_PY})
    (folder / "m" / "2").symlink_to(folder / "m" / "1")
    assert lint_repository(folder) == ()
    (folder / "m" / "2" / "model.py").unlink()
    assert [m.message for m in lint_repository(folder)] == [
        "version 1 has no `model.py`", "version 2 has no `model.py`"
    ]  # fmt: skip


def test_what_is_no_repository(tmp_path: Path) -> None:
    model = _write(tmp_path / "repository", {"m/config.pbtxt": GOOD.encode(), "m/1/model.py": MODEL_PY}) / "m"
    for folder, message in (
        (tmp_path / "none", "no such folder"),
        (model, "this is a model's folder"),
        (model / "1", "no models in this folder"),
    ):
        with pytest.raises(InputError, match=message):
            lint_repository(folder)


@pytest.mark.parametrize("inside", ["triton/models", "models"])
def test_a_bundle_leads_to_its_repository(tmp_path: Path, inside: str) -> None:
    _write(tmp_path / inside, {"m/config.pbtxt": GOOD.encode(), "m/1/model.py": MODEL_PY})
    with pytest.raises(InputError) as refused:
        lint_repository(tmp_path)
    assert refused.value.diagnostics[0].hint == f"name {tmp_path / inside}"
    assert lint_repository(tmp_path / inside) == ()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _write(tmp_path / "r", {"m/config.pbtxt": GOOD.encode(), "m/1/model.py": MODEL_PY})
    assert run(["triton", "lint", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == f"{folder}: ok: m"
    (folder / "m" / "config.pbtxt").write_text(GOOD.replace("KIND_CPU", "KIND_GPU gpus: 0"), encoding="utf-8")
    assert run(["triton", "lint", str(folder), "--no-gpu"]) == 2
    assert f"{folder}/m/config.pbtxt:6:24: error: instances on a GPU" in capsys.readouterr().err
