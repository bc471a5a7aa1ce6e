"""Recipes load: those in recipes/, with --set, extends and templates; paths mean the folder they were written in."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from edgec.errors import InputError
from edgec.plan.check import load_checked
from edgec.recipe.load import load_recipe

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
# What the example recipes leave to the person; the commit is that of no model.
ENV = {"MODEL_DIR": str(ROOT / "models" / "docs-llama"), "REVISION": "0123456789abcdef0123456789abcdef01234567"}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda p: p.name)
def test_every_recipe_loads_and_passes_the_checks(path: Path, tmp_path: Path) -> None:
    # The images of a model's use are the person's.
    folders = {"calibration": tmp_path / "calibration", "held_out": tmp_path / "held-out"}
    for folder in folders.values():
        folder.mkdir()
    given = [f"vars.{name}={folder}" for name, folder in folders.items() if "resnet" in path.name]
    loaded, target = load_checked(path, sets=given, env=ENV)
    assert loaded.recipe.target == target.name
    json.dumps(loaded.document, allow_nan=False)


def test_the_quickstart_is_what_it_says() -> None:
    loaded = load_recipe(RECIPES / "quickstart.yaml", env={})
    recipe = loaded.recipe
    assert (recipe.name, recipe.target, recipe.context) == ("docs-llama", "pi5-8gb", 256)
    assert loaded.resolve(recipe.source.path or "").joinpath("config.json").is_file()
    span = loaded.span("artifacts", 0, "quantize", "scheme")
    assert span is not None
    assert span.source_line[span.column - 1 :][: span.length] == "q4_k_m"
    assert loaded.span("batch") is None
    assert "quantize" in loaded.document["artifacts"][0]


def test_a_recipe_cannot_change() -> None:
    recipe = load_recipe(RECIPES / "quickstart.yaml", env={}).recipe
    with pytest.raises(ValidationError):
        recipe.context = 1


def test_set_reaches_into_lists_and_makes_mappings() -> None:
    sets = ["artifacts[0].quantize.scheme=q8_0", "artifacts.0.shard_size_mib=512", "sign.key=k.pem", "vars={a: 1}"]
    recipe = load_recipe(RECIPES / "quickstart.yaml", sets=[*sets, "description=${{ vars.a }} b"], env={}).recipe
    assert recipe.artifacts[0].quantize.scheme == "q8_0"
    assert recipe.artifacts[0].shard_size_mib == 512
    assert recipe.vars == {"a": 1}
    assert recipe.description == "1 b"


def test_paths_mean_the_folder_they_were_written_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "own").mkdir()
    shutil.copy(RECIPES / "quickstart.yaml", tmp_path / "base" / "b.yaml")
    recipe = tmp_path / "own" / "r.yaml"
    recipe.write_text("extends: ../base/b.yaml\nprove: {held_out: mine.txt}\n", encoding="utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    loaded = load_recipe(Path("../own/r.yaml"), sets=["sign.key=key.pem", "target=./board.yaml"], env={})
    meant = {
        loaded.recipe.source.path: tmp_path / "models" / "docs-llama",
        loaded.recipe.prove.held_out: tmp_path / "own" / "mine.txt",
        loaded.recipe.sign.key: tmp_path / "here" / "key.pem",
        loaded.recipe.target: tmp_path / "here" / "board.yaml",
    }
    for written, expected in meant.items():
        assert written is not None
        assert loaded.resolve(written).resolve() == expected
    assert "/" in loaded.recipe.target


def test_an_absolute_path_stays() -> None:
    loaded = load_recipe(RECIPES / "llama-rk3588.yaml", env=ENV)
    assert loaded.recipe.source.path == ENV["MODEL_DIR"]
    assert loaded.from_env("source", "path")


def test_a_wrong_recipe_never_loads_half() -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(RECIPES / "quickstart.yaml", sets=["context=x", "batch=0", "nmae=y"], env={})
    assert len(caught.value.diagnostics) == 3
