"""The JSON schemas in schemas/ are those of the models, and agree with what edgec itself takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from edgec.commands.schema import DOCUMENTS, document_schema

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "recipe" / "goldens"


def validator(name: str) -> Draft202012Validator:
    schema = json.loads(document_schema(name))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def yaml_data(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_the_files_are_up_to_date(name: str) -> None:
    written = (ROOT / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")
    assert written == document_schema(name), f"run: edgec schema {name} -o schemas/{name}.schema.json"


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_every_recipe_is_valid_in_an_editor(path: Path) -> None:
    assert list(validator("recipe").iter_errors(yaml_data(path))) == []


@pytest.mark.parametrize("path", sorted((ROOT / "targets").glob("*.yaml")), ids=lambda p: p.name)
def test_every_target_is_valid_in_an_editor(path: Path) -> None:
    assert list(validator("target").iter_errors(yaml_data(path))) == []


@pytest.mark.parametrize(
    "name", ["unknown-keys", "wrong-types", "out-of-range", "missing-keys", "unknown-format-and-scheme", "bad-names"]
)
def test_an_editor_sees_the_mistakes_too(name: str) -> None:
    assert not validator("recipe").is_valid(yaml_data(GOLDENS / f"{name}.yaml"))


def test_a_template_stands_where_a_number_is_wanted() -> None:
    recipe = yaml_data(ROOT / "recipes" / "quickstart.yaml")
    assert validator("recipe").is_valid(recipe | {"context": "${{ vars.context }}"})
    assert not validator("recipe").is_valid(recipe | {"context": "many"})


def test_every_field_is_described() -> None:
    schema = json.loads(document_schema("recipe"))
    fields = [(n, f) for d in (schema, *schema["$defs"].values()) for n, f in d["properties"].items()]
    assert [name for name, field in fields if "description" not in field] == []
