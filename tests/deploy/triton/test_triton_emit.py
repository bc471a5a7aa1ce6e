"""What the emitter writes for the quickstart's model. `EDGEC_UPDATE_GOLDENS=1` writes the goldens anew."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from edgec.deploy.model import ServedModel
from edgec.deploy.triton.emit import check, emit, refuse
from edgec.deploy.triton.lint import lint_files
from edgec.deploy.triton.lint.schema import model_config_class
from edgec.deploy.triton.templates import integer, protobuf_text
from edgec.recipe.model import Recipe
from edgec.recipe.package import TritonPackage

GOLDENS = Path(__file__).parent / "goldens"
SHOWN = ("README.md", "start.sh", "load.sh", "models/docs-llama/config.pbtxt", "models/docs-llama/1/version.json")


@pytest.mark.parametrize("path", SHOWN)
def test_the_quickstarts_files(path: str, docs_llama: ServedModel) -> None:
    made = emit(TritonPackage(), docs_llama).files[f"triton/{path}"]
    golden = GOLDENS / path.replace("/", "-")
    if os.environ.get("EDGEC_UPDATE_GOLDENS"):
        GOLDENS.mkdir(exist_ok=True)
        golden.write_bytes(made)
    assert made.decode() == golden.read_text(encoding="utf-8")


def test_equal_inputs_give_equal_bytes(docs_llama: ServedModel) -> None:
    first, second = (emit(TritonPackage(), docs_llama) for _ in range(2))
    assert dict(first.files) == dict(second.files)
    assert list(first.files) == sorted(first.files)
    assert first.digest == second.digest
    assert emit(TritonPackage(queue_size=9), docs_llama).digest != first.digest


@pytest.mark.parametrize(("kind", "pooling"), [("decoder", None), ("encoder", "mean"), ("reranker", "rank")])
def test_no_kind_of_model_has_a_mistake(kind: str, pooling: str | None, docs_llama: ServedModel) -> None:
    model = replace(docs_llama, kind=kind, pooling=pooling)  # type: ignore[arg-type]
    files = emit(TritonPackage(version=3, served_versions=2), model).files
    repository = {path.removeprefix("triton/models/"): data for path, data in files.items() if "/models/" in path}
    assert lint_files(repository, has_gpu=False) == ()
    version = json.loads(repository["docs-llama/3/version.json"])
    assert version["gguf_path"] == "../../../../gguf/docs-llama-q4_k_m.gguf"
    assert all(isinstance(value, str) for value in version.values())


def test_the_version_folder_leads_to_the_weights(docs_llama: ServedModel, tmp_path: Path) -> None:
    emitted = emit(TritonPackage(), docs_llama)
    for path, data in emitted.files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (folder,) = tmp_path.glob("triton/models/*/1")
    gguf = json.loads((folder / "version.json").read_bytes())["gguf_path"]
    assert (folder / gguf).resolve() == (tmp_path / docs_llama.files[0]).resolve()


@given(st.text())
def test_any_text_stays_one_value(text: str) -> None:
    config = model_config_class()()
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    text_format.Parse(f"name: {protobuf_text(text)}", config)
    assert config.name == text


def test_only_numbers_are_numbers() -> None:
    assert integer(-1) == "-1"
    for value in ("1", True, 1.0, None):
        with pytest.raises(TypeError):
            integer(value)


def _recipe(context: int | None = None, batch: int = 1) -> Recipe:
    return Recipe.model_validate(
        {
            "schema": "edgec/recipe/v1",
            "name": "docs-llama",
            "version": "1.0.0",
            "target": "pi5-8gb",
            "source": {"path": "m"},
            "context": context,
            "batch": batch,
            "artifacts": [{"format": "gguf"}],
        }
    )


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "é", "-a", "x" * 129])
def test_a_name_that_triton_cannot_serve(name: str) -> None:
    (mistake,) = check(TritonPackage(model_name=name), _recipe())
    assert mistake.at == ("package", "triton", "model_name")


def test_mistakes_of_the_recipe() -> None:
    settings = TritonPackage.model_validate({"max_tokens": 256, "ports": {"grpc": 8000, "metrics": 8000}})
    assert [m.at[2:] for m in check(settings, _recipe(256))] == [
        ("ports", "grpc"),
        ("ports", "metrics"),
        ("max_tokens",),
    ]
    assert list(check(TritonPackage(max_tokens=255), _recipe(256))) == []


def test_more_sequences_than_llama_cpp_can_have() -> None:
    (mistake,) = check(TritonPackage(), _recipe(batch=257))
    assert mistake.at == ("batch",)
    assert list(check(TritonPackage(), _recipe(batch=256))) == []


def test_what_the_model_or_the_device_cannot_do(docs_llama: ServedModel) -> None:
    encoder = replace(docs_llama, kind="encoder", pooling="mean")
    large = replace(docs_llama, device=replace(docs_llama.device, needed_mib=4000))
    for settings, model, key in (
        (TritonPackage(max_tokens=256), docs_llama, "max_tokens"),
        (TritonPackage(max_tokens=8), encoder, "max_tokens"),
        (TritonPackage(max_batch_size=4), docs_llama, "max_batch_size"),
        (TritonPackage(served_versions=2), large, "served_versions"),
    ):
        (mistake,) = refuse(settings, model)
        assert mistake.at == ("package", "triton", key)
    assert list(refuse(TritonPackage(served_versions=2), docs_llama)) == []
    assert list(refuse(TritonPackage(max_batch_size=4), encoder)) == []


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("name", ["start.sh", "load.sh"])
def test_the_scripts_are_clean(name: str, docs_llama: ServedModel, tmp_path: Path) -> None:
    script = tmp_path / name
    script.write_bytes(emit(TritonPackage(), docs_llama).files[f"triton/{name}"])
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
