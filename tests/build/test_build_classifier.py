"""Image classifiers built whole: ONNX files and models for the NPU of an RK3588, from a folder and from a hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from build_shop import Shop, hub_of
from classifier_models import LABELS, classifier_files, write_resnet, write_vit
from image_folder import write_images

RECIPES = Path(__file__).parents[2] / "recipes"
ONNX = """\
schema: edgec/recipe/v1
name: small-classifier
version: 1.0.0
target: pi5-4gb
source: {path: model, licence: apache-2.0}
artifacts:
  - format: onnx
    quantize: {scheme: auto, calibration: calibration}
  - format: onnx
    quantize: {scheme: fp32}
prove: {held_out: held-out}
"""


def write_samples(folder: Path) -> list[str]:
    """Images to calibrate and to prove on; returns what a recipe of `recipes/` is told of them."""
    calibration = write_images(folder / "calibration", 16, first=100)
    held_out = write_images(folder / "held-out", 24)
    return ["--set", f"vars.calibration={calibration}", "--set", f"vars.held_out={held_out}"]


def measured(built: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What was measured, by artifact and check."""
    return {p["artifact"]: {c["name"]: c["measured"] for c in p["checks"]} for p in built["proofs"]}


def unpacked(shop: Shop, bundle: str) -> tuple[Path, dict[str, Any]]:
    """The verified files of a bundle, and its manifest."""
    done = shop.run("unpack", bundle, shop.folder / "unpacked")
    assert done.code == 0, done.last
    return shop.folder / "unpacked", json.loads((shop.folder / "unpacked" / "edgec-manifest.json").read_bytes())


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_a_vit_for_onnxruntime_says_what_a_program_must_know(workshop: Shop) -> None:
    write_samples(workshop.folder)
    write_vit(workshop.folder / "model")
    recipe = workshop.recipe(ONNX)
    built = workshop.run("build", recipe)
    assert built.code == 0, built.last
    found = measured(built.last)
    assert found["onnx-fp32"]["smallest cosine"] > 0.99999
    assert found["onnx-fp32"]["top-1 agreement"] == 1
    assert 0.97 < found["onnx-auto"]["smallest cosine"] < 0.99999

    folder, manifest = unpacked(workshop, built.last["bundle"])
    assert {p.name for p in (folder / "onnx").iterdir()} == {"model-auto.onnx", "model-fp32.onnx"}
    assert (folder / "preprocessor_config.json").is_file()
    model = manifest["model"]
    assert (model["kind"], model["labels"]) == ("classifier", list(LABELS))
    assert (model["image"]["mode"], model["image"]["mean"]) == ("stretch", [0.5, 0.5, 0.5])
    (given,) = model["interfaces"]["onnx-auto"]["inputs"]
    assert (given["name"], given["dtype"], given["shape"][1:]) == ("pixel_values", "float32", [3, 48, 48])
    (attempts,) = [p["attempts"] for p in built.last["proofs"] if p["artifact"] == "onnx-auto"]
    assert len([a for a in attempts if a["chosen"]]) == 1 < len(attempts)

    assert workshop.run("build", recipe).last["cached"] is True
    # Another image is another build, although no file that the recipe names has changed.
    write_images(workshop.folder / "held-out", 1, first=500)
    planned = workshop.run("plan", recipe)
    assert {a["name"]: a["cached"] for a in planned.last["actions"]} == {
        "export onnx": True, "compile onnx-auto": True, "compile onnx-fp32": True,
        "prove onnx-auto": False, "prove onnx-fp32": False, "bundle": False,
    }  # fmt: skip
    missed = workshop.run("build", recipe, "--set", "prove.min_cosine=0.9999999", "--output", "other")
    assert missed.code == 4
    assert not list((workshop.folder / "other").glob("*-pi5-4gb"))


@pytest.fixture
def resnet_shop(workshop: Shop) -> Iterator[Shop]:
    """A workshop whose hub has a small ResNet under the name and the commit that the recipes have."""
    files = classifier_files(write_resnet(workshop.folder / "resnet"))
    with hub_of(workshop, RECIPES / "pi5-resnet18.yaml", files) as shop:
        yield shop


@pytest.mark.parametrize("board", ["pi5", "rk3588"])
def test_the_recipes_are_planned_from_headers(resnet_shop: Shop, board: str) -> None:
    given = write_samples(resnet_shop.folder)
    planned = resnet_shop.run("plan", RECIPES / f"{board}-resnet18.yaml", *given)
    assert planned.code == 0, planned.last
    (artifact,) = planned.last["artifacts"]
    assert (artifact["fit"]["verdict"], artifact["speeds"]) == ("fits", [])


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_the_recipe_for_the_pi_is_built_from_a_hub(resnet_shop: Shop) -> None:
    built = resnet_shop.run("build", RECIPES / "pi5-resnet18.yaml", *write_samples(resnet_shop.folder))
    assert built.code == 0, built.last
    assert measured(built.last)["onnx-auto"]["top-1 agreement"] >= 0.9


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_the_recipe_for_the_npu_is_built_from_a_hub(resnet_shop: Shop) -> None:
    built = resnet_shop.run("build", RECIPES / "rk3588-resnet18.yaml", *write_samples(resnet_shop.folder))
    assert built.code == 0, built.last
    found = measured(built.last)["rknn-auto"]
    assert 0.97 < found["smallest cosine"] < 0.99999
    folder, manifest = unpacked(resnet_shop, built.last["bundle"])
    assert (folder / "rknn" / "model-auto.rknn").read_bytes()[:4] == b"RKNN"
    told = manifest["model"]["interfaces"]["rknn-auto"]
    assert told["inputs"] == [{"name": "pixel_values", "shape": [1, 3, 64, 64], "dtype": "int8"}]
    assert told["outputs"] == [{"name": "logits", "shape": [1, 8], "dtype": "int8"}]
    reasons = {n["what"]: n["why"] for n in manifest["not_verified"]}
    assert "not verified on hardware" in reasons["the model on the NPU"]
    assert "not reproducible" in reasons["a second build with the same bytes"]


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_half_an_image_is_told_by_name_and_stores_nothing(workshop: Shop) -> None:
    write_samples(workshop.folder)
    write_resnet(workshop.folder / "model")
    broken = workshop.folder / "held-out" / "0007.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    failed = workshop.run("build", workshop.recipe(ONNX.replace("{scheme: auto, calibration: calibration}",
                                                                "{scheme: int8_fine}")))  # fmt: skip
    assert failed.code == 2
    (diagnostic,) = failed.last["diagnostics"]
    assert diagnostic["place"].endswith("0007.png")
    assert "cannot be decoded" in diagnostic["message"]
    assert not list(workshop.folder.glob("artifacts/*"))
