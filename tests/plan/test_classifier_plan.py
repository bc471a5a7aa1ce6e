"""Plans of image classifiers: bad input stands at a line of the recipe, and images are chosen by their content."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from classifier_models import write_resnet, write_vit
from image_folder import write_images

from edgec.documents.canonical import sha256_file
from edgec.errors import Diagnostic, InputError
from edgec.plan.check import load_checked
from edgec.plan.classifier import ClassifierPlan
from edgec.plan.onnx_classifier import plan_onnx_classifier
from edgec.plan.origin import open_source
from edgec.plan.rknn_classifier import plan_rknn_classifier
from edgec.recipe.onnx import OnnxArtifact
from edgec.recipe.rknn import RknnArtifact

RECIPE = """\
schema: edgec/recipe/v1
name: classifier
version: 1.0.0
target: pi5-8gb
source: {path: model}
artifacts:
  - format: onnx
    quantize:
      scheme: auto
      calibration: calibration
prove: {held_out: held-out}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_resnet(tmp_path / "model")
    write_images(tmp_path / "calibration", 10, height=20, width=20)
    write_images(tmp_path / "held-out", 12, first=100, height=20, width=20)
    return tmp_path


def plan(folder: Path, text: str = RECIPE) -> ClassifierPlan:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    loaded, target = load_checked(folder / "recipe.yaml", env={})
    header = open_source(loaded, offline=True, digest_file=sha256_file).header
    match loaded.recipe.artifacts[0]:
        case OnnxArtifact() as artifact:
            return plan_onnx_classifier(loaded, target, header, artifact, 0)
        case RknnArtifact() as artifact:
            return plan_rknn_classifier(loaded, target, header, artifact, 0)
        case _:
            raise AssertionError


def refusal(folder: Path, text: str = RECIPE) -> Diagnostic:
    with pytest.raises(InputError) as caught:
        plan(folder, text)
    (found,) = caught.value.diagnostics
    assert found.hint
    return found


def test_it_fits_and_says_what_becomes_of_an_image(folder: Path) -> None:
    made = plan(folder)
    assert made.summary.fit.verdict == "fits"
    assert made.facts.kind == "classifier"
    assert any("its shortest side made 73 pixels (bicubic), its middle 64 x 64 pixels kept" in n
               for n in made.summary.notes)  # fmt: skip
    assert made.told["input"] == {"name": "pixel_values", "shape": [None, 3, 64, 64]}
    assert (len(made.calibration.paths), len(made.held_out.paths)) == (10, 12)


def test_the_npu_takes_one_image(folder: Path) -> None:
    made = plan(folder, RECIPE.replace("onnx", "rknn").replace("pi5-8gb", "rk3588-8gb"))
    assert made.told["output"] == {"name": "logits", "shape": [1, 8]}
    assert any("not reproducible" in note for note in made.summary.notes)


def test_images_that_calibrate_do_not_prove(folder: Path) -> None:
    for number in range(4):
        shutil.copy(folder / "calibration" / f"000{number}.png", folder / "held-out" / f"copy-{number}.png")
    assert len(plan(folder).held_out.paths) == 12
    for number in range(100, 105):
        (folder / "held-out" / f"0{number}.png").unlink()
    found = refusal(folder)
    assert "has 7 different images; none of them calibrated on" in found.message
    assert found.span is not None
    assert "held_out" in found.span.source_line


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\nprove: {held_out: held-out}", "", "the proof of an image classifier needs images"),
        ("prove: {held_out: held-out}", "context: 64\nprove: {held_out: held-out}", "has no context"),
        ("held_out: held-out", "held_out: held-out, max_kl: 1", "`prove.max_kl` means nothing"),
        ("held_out: held-out", "held_out: calibration", "the held-out text is the calibration text"),
        ("held_out: held-out", "held_out: recipe.yaml", "must be a folder, and this is a file"),
        ("scheme: auto\n      calibration: calibration", "scheme: int8", "`int8` is for matrix products"),
    ],
)
def test_mistakes_stand_at_the_recipes_lines(folder: Path, old: str, new: str, says: str) -> None:
    assert old in RECIPE
    found = refusal(folder, RECIPE.replace(old, new))
    assert says in found.message
    assert found.span is not None


def test_a_file_that_is_no_image_is_named_before_anything_runs(folder: Path) -> None:
    (folder / "calibration" / "0003.png").write_bytes(b"<html>not found</html>")
    found = refusal(folder)
    assert (found.message, found.place) == (
        "is not an image, whatever its name says", str(folder / "calibration" / "0003.png")
    )  # fmt: skip


def test_too_few_images_cannot_calibrate(folder: Path) -> None:
    for number in range(4, 10):
        (folder / "calibration" / f"000{number}.png").unlink()
    found = refusal(folder)
    assert "has 4 different images; half of them calibrate and half judge, and 8 are needed" in found.message


def test_a_vit_takes_dynamic_int8(folder: Path) -> None:
    shutil.rmtree(folder / "model")
    write_vit(folder / "model")
    made = plan(folder, RECIPE.replace("scheme: auto\n      calibration: calibration", "scheme: int8"))
    assert made.summary.files == ("model-int8.onnx",)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("scheme: fp16", "`fp16` is for decoders, and this model is none"),
        ("scheme: int4", "`int4` is for models of texts, and this model is none"),
        ("scheme: fp32, block_size: 64", "`block_size` is for decoders, and this model is none"),
        ("scheme: fp32, algorithm: rtn", "`algorithm` is for decoders, and this model is none"),
    ],
)
def test_settings_of_other_models_are_refused_at_their_line(folder: Path, written: str, told: str) -> None:
    found = refusal(folder, RECIPE.replace("\n      scheme: auto\n      calibration: calibration", f" {{{written}}}"))
    assert found.message == told
    assert found.span is not None
    assert found.span.source_line[found.span.column - 1 :].startswith(written.rpartition(": ")[2])
    if "fp32" not in written:
        assert found.hint == "choose one of `auto`, `int8_fine`, `int8`, `int8_static`, `fp32`"


def test_the_kind_of_a_decoders_graph_is_refused_at_its_line(folder: Path) -> None:
    found = refusal(folder, RECIPE.replace("format: onnx", "format: onnx\n    graph: standard"))
    assert found.message == "`graph` is for decoders, and this model is none"
    assert found.span is not None
    assert found.span.line == 8
