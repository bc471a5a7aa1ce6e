"""A model too large for one ONNX file: its weights lie in a second one, from the export to the device.

The limit is lowered, so that a small model takes the same way; docs/onnx.md has a run with more than 2 GB.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from build_shop import MODEL, Shop
from encoder_models import write_encoder
from test_build_onnx import unpacked

from edgec import api
from edgec.documents.canonical import sha256_file
from edgec.errors import InputError
from edgec.formats.onnx import layout

RECIPE = """\
schema: edgec/recipe/v1
name: large
version: 1.0.0
target: {target}
source: {{path: encoder, licence: apache-2.0}}
artifacts:
  - format: onnx
    quantize: {{scheme: int8}}
  - format: onnx
    quantize: {{scheme: int4}}
  - format: onnx
    quantize: {{scheme: fp32}}
prove: {{held_out: {texts}/held_out.txt}}
"""
FILES = {
    "onnx-int8": ("model-int8.onnx", "model-int8.onnx.data"),
    "onnx-int4": ("model-int4.onnx", "model-int4.onnx.data"),
    # A copy of the exported graph, which names the file beside it.
    "onnx-fp32": ("model-fp32.onnx", "model.onnx.data"),
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the recipe for a target; one file holds little."""
    monkeypatch.setattr(layout, "SINGLE_FILE_BYTES", 1 << 20)
    write_encoder(tmp_path / "encoder", (MODEL / "calibration.txt").read_text(encoding="utf-8").splitlines()[:2000])

    def write(target: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(RECIPE.format(target=target, texts=MODEL), encoding="utf-8")
        return path

    return write


def shop_of(folder: Path) -> api.Workshop:
    """The folders that commands run in `folder` have as well."""
    return api.Workshop(cache=folder / "cache", config=folder / "config" / "edgec")


def test_the_plan_knows_both_files(tmp_path: Path, recipe: Any) -> None:
    plan = api.plan(recipe("pi5-8gb"), workshop=shop_of(tmp_path), output=tmp_path / "out")
    assert {a.name: a.summary.files for a in plan.artifacts} == FILES
    assert all(any("must stay in its folder" in note for note in a.summary.notes) for a in plan.artifacts)


def test_a_browser_is_refused_at_the_scheme(tmp_path: Path, recipe: Any) -> None:
    with pytest.raises(InputError, match="more than one ONNX file holds") as caught:
        api.plan(recipe("wasm-browser"), workshop=shop_of(tmp_path), output=tmp_path / "out")
    (found,) = caught.value.diagnostics
    assert found.span is not None
    assert found.span.source_line == "    quantize: {scheme: int8}"


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_two_files_go_together_from_the_export_to_the_device(workshop: Shop, recipe: Any) -> None:
    shop = shop_of(workshop.folder)
    built = api.build(recipe("pi5-8gb"), workshop=shop, output=workshop.folder / "out")
    folder = unpacked(workshop, str(built.path))
    names = sorted(name for files in FILES.values() for name in files)
    assert sorted(p.name for p in (folder / "onnx").iterdir()) == names
    manifest = json.loads((folder / "edgec-manifest.json").read_bytes())
    told = {a["name"]: tuple(Path(f).name for f in a["files"]) for a in manifest["artifacts"]}
    assert told == FILES
    digests = {f["path"]: f["digest"] for f in manifest["files"]}
    for name in names:
        path = folder / "onnx" / name
        assert digests[f"onnx/{name}"] == sha256_file(path)
        # Graphs hold no weights.
        assert (path.stat().st_size < 1 << 18) == name.endswith(".onnx")
