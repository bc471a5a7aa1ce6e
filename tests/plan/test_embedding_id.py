"""The id of an embedding in Dify, which keeps vectors by it: another for other vectors, the same for the same ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from encoder_models import write_encoder

from edgec import api
from edgec.prove.held_out import built_in_text

RECIPE = """\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: pi5-8gb
source: {path: model, licence: apache-2.0}
context: 64
artifacts:
  - format: gguf
    quantize: {scheme: q8_0}
package: {triton: null, dify: {author: acme}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe with an encoder."""
    monkeypatch.chdir(tmp_path)
    write_encoder(tmp_path / "model", built_in_text().splitlines())
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "calibration.txt").write_text("To calibrate with.", encoding="utf-8")
    return tmp_path


def embedding_id(folder: Path, *sets: str) -> str:
    """The id that a plan gives the model."""
    shop = api.Workshop(cache=folder / "cache", config=folder / "config", env={}, offline=True)
    made = api.plan(folder / "recipe.yaml", sets=sets, workshop=shop, output=folder / "artifacts")
    (model,) = made.deployment["dify"].facts["models"]
    return str(model["id"])


def other_weights(folder: Path) -> None:
    """Another checkpoint of the same shapes: one bit of the last weight."""
    file = folder / "model" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def other_words(folder: Path) -> None:
    """The same vectors from other files: a model card."""
    (folder / "model" / "README.md").write_text("Better than ever.", encoding="utf-8")


def test_what_is_carried_says_of_which_artifact(folder: Path) -> None:
    shop = api.Workshop(cache=folder / "cache", config=folder / "config", env={}, offline=True)

    def titles(*sets: str) -> list[str]:
        made = api.plan(folder / "recipe.yaml", sets=sets, workshop=shop, output=folder / "artifacts")
        return [emitted.title for emitted in made.deployment.values()]

    both = "artifacts=[{format: gguf, quantize: {scheme: f16}}, {format: gguf, quantize: {scheme: q8_0}}]"
    assert [title.rpartition(", ")[2] for title in titles(both, "package.triton={}")] == ["from gguf-f16"] * 2
    assert "from" not in titles()[0]


def test_it_names_scheme_dimension_and_weights(folder: Path) -> None:
    assert re.fullmatch(r"small-q8_0-\d+d-[0-9a-f]{8}", embedding_id(folder))


@pytest.mark.parametrize(
    ("change", "sets", "differs"),
    [
        (other_weights, (), True),
        (other_words, (), False),
        (None, ("artifacts[0].quantize.overrides=[{tensors: '*', type: f16}]",), True),
        (None, ("artifacts[0].quantize.imatrix.calibration=calibration.txt",), True),
        (None, ("version=1.0.1", "target=pi5-16gb", "description=new", "artifacts[0].shard_size_mib=1"), False),
    ],
)
def test_it_changes_with_the_vectors(
    folder: Path, change: Callable[[Path], None] | None, sets: tuple[str, ...], differs: bool
) -> None:
    before = embedding_id(folder)
    assert embedding_id(folder) == before
    if change is not None:
        change(folder)
    assert (embedding_id(folder, *sets) != before) is differs
