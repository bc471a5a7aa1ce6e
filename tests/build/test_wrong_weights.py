"""A mistake that only reading the weights can find names the file with its folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgec import api
from edgec.errors import InputError
from edgec.source.safetensors import read_header

MODEL = Path(__file__).parents[2] / "models" / "docs-llama"
RECIPE = """
schema: edgec/recipe/v1
name: broken
version: 1.0.0
target: pi5-8gb
source: {path: model}
artifacts: [{format: gguf, quantize: {scheme: q8_0}}]
"""


def test_a_nan_names_the_path_and_the_tensor(tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.chmod(0o644)
    tensor = read_header(weights, file=weights.name)["model.norm.weight"]
    with weights.open("r+b") as file:
        file.seek(tensor.offset)
        file.write(b"\xff" * tensor.nbytes)  # a NaN in each of the float types
    (tmp_path / "r.yaml").write_text(RECIPE)
    shop = api.Workshop(cache=tmp_path / "cache", config=tmp_path / "config")
    with pytest.raises(InputError, match="the weight at index 0 is nan") as caught:
        api.build(tmp_path / "r.yaml", workshop=shop, output=tmp_path / "out")
    assert caught.value.diagnostics[0].place == f"{weights}: tensor 'model.norm.weight'"
