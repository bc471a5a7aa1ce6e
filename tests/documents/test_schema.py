"""The JSON schemas in schemas/ are those of the models, and agree with what edgec itself takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from edgec.commands.schema import DOCUMENTS, document_schema
from edgec.errors import InputError
from edgec.recipe.load import load_recipe

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


def _source(**fields: Any) -> dict[str, Any]:
    return {"source": fields}


def _imatrix(**fields: Any) -> dict[str, Any]:
    return {"artifacts": [{"format": "gguf", "quantize": {"imatrix": fields}}]}


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("fields", "good"),
    [
        ({"name": "${{ vars.name }}", "version": "${{ vars.version }}"}, True),
        ({"name": "edge-${{ vars.name }}", "version": "1.${{ vars.context }}.0"}, True),
        ({"name": "Edge Llama"}, False),
        ({"version": "1.2.3-rc.1"}, True),
        ({"version": "1.2.3-.."}, False),
        ({"version": "1.2"}, False),
        (_source(hub="acme/${{ vars.name }}", revision=COMMIT), True),
        (_source(hub="acme/model", revision="${{ vars.commit }}"), True),
        (_source(hub="acme/model", revision="main"), False),
        (_source(hub="acme/model"), False),
        (_source(hub="acme", revision=COMMIT), False),
        (_source(path="model", hub="acme/model", revision=COMMIT), False),
        (_source(path=None, hub="acme/model", revision=COMMIT), True),
        (_source(path="model", revision=COMMIT), False),
        (_source(licence="mit"), False),
        (_imatrix(calibration="text.txt"), True),
        (_imatrix(calibration="text.txt", file="ready.gguf"), False),
        (_imatrix(calibration=None, file="ready.gguf"), True),
        (_imatrix(max_tokens=512), False),
    ],
    ids=str,
)
def test_an_editor_and_edgec_agree(tmp_path: Path, fields: dict[str, Any], good: bool) -> None:
    whole = {"schema": "edgec/recipe/v1", "name": "n", "version": "1.0.0", "target": "pi5-8gb"}
    names = {"name": "llama", "version": "2.0.0", "context": 512, "commit": COMMIT}
    recipe = whole | _source(path="model") | {"artifacts": [{"format": "gguf"}], "vars": names} | fields
    assert validator("recipe").is_valid(recipe) is good
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    if good:
        load_recipe(file)
    else:
        with pytest.raises(InputError):
            load_recipe(file)


def test_an_extending_file_may_hold_a_part_of_the_source() -> None:
    assert validator("recipe").is_valid({"extends": "base.yaml", "source": {"revision": COMMIT}})
    both = {"path": "model", "hub": "acme/model"}
    assert not validator("recipe").is_valid({"extends": "base.yaml", "source": both})
