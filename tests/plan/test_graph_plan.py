"""Plans of a user's own .onnx: what cannot be run, quantized or proven is refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_models import classifier, detector, save, scenes
from image_folder import write_images
from onnx import TensorProto, helper

from edgec.documents.canonical import sha256_file
from edgec.errors import Diagnostic, InputError
from edgec.plan.check import load_checked
from edgec.plan.onnx_graph import OnnxGraphPlan, plan_onnx_graph
from edgec.plan.origin import open_source

RECIPE = """\
schema: edgec/recipe/v1
name: own
version: 1.0.0
target: pi5-4gb
source: {path: model.onnx}
artifacts:
  - format: onnx
    quantize: {scheme: auto, calibration: calibration.npy}
prove: {held_out: held-out.npy}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(detector(), tmp_path / "model.onnx")
    np.save(tmp_path / "calibration.npy", scenes(12, 1))
    np.save(tmp_path / "held-out.npy", scenes(6, 2))
    return tmp_path


def plan(folder: Path, text: str = RECIPE) -> OnnxGraphPlan:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    loaded, target = load_checked(folder / "recipe.yaml", env={})
    header = open_source(loaded, offline=True, digest_file=sha256_file).header
    return plan_onnx_graph(loaded, target, header, loaded.recipe.artifacts[0], 0)


def refusal(folder: Path, text: str = RECIPE) -> Diagnostic:
    with pytest.raises(InputError) as caught:
        plan(folder, text)
    found = caught.value.diagnostics[0]
    assert found.hint
    return found


def test_what_is_planned(folder: Path) -> None:
    made = plan(folder)
    assert made.summary.fit.verdict == "fits"
    assert made.summary.files == ("model-auto.onnx",)
    assert [route.name for route in made.layout.routes] == [
        "static-all", "static", "static-percentile", "static-entropy", "static-u16", "weights",
    ]  # fmt: skip
    assert "input images: float32 [1, 3, 64, 64]" in made.summary.notes
    assert (len(made.calibration_indices), len(made.held_out_indices)) == (12, 6)


@pytest.mark.parametrize(
    ("domain", "op", "told"),
    [
        ("", "Frobnicate", "the node 'strange' is a `Frobnicate` of ONNX's own domain, which onnxruntime"),
        ("com.acme", "Relu", "the node 'strange' is a `Relu` of the domain `com.acme`, which onnxruntime"),
    ],
)
def test_an_operator_that_onnxruntime_has_not(folder: Path, domain: str, op: str, told: str) -> None:
    model = detector()
    model.graph.node.append(helper.make_node(op, ["images"], ["more"], "strange", domain=domain))
    save(model, folder / "model.onnx")
    assert refusal(folder).message.startswith(told)


def test_a_node_without_a_name_is_told_by_what_it_makes(folder: Path) -> None:
    model = detector()
    model.graph.node.append(helper.make_node("Frobnicate", ["images"], ["more"]))
    save(model, folder / "model.onnx")
    assert refusal(folder).message.startswith("the node that makes 'more' is a `Frobnicate`")


def test_open_dimensions_come_with_the_lines_to_add(folder: Path) -> None:
    save(detector("side"), folder / "model.onnx")
    fp32 = RECIPE.replace("{scheme: auto, calibration: calibration.npy}", "{scheme: fp32}")
    found = refusal(folder, fp32[: fp32.index("prove")])
    assert "the input `images` leaves dimension 2 (side), dimension 3 (side) open" in found.message
    lines = "source: {inputs: {images: {shape: [1, 3, <side>, <side>]}}}"
    assert lines in (found.hint or "")
    given = "source: {path: model.onnx, inputs: {images: {shape: [1, 3, 64, 64]}}}"
    fixed = plan(folder, fp32[: fp32.index("prove")].replace("source: {path: model.onnx}", given))
    assert fixed.graph.inputs[0].shape == (1, 3, 64, 64)


def test_a_shape_that_does_not_fit_and_an_input_that_is_not_there(folder: Path) -> None:
    wrong = RECIPE.replace("{path: model.onnx}", "{path: model.onnx, inputs: {images: {shape: [1, 3, 32, 64]}}}")
    found = refusal(folder, wrong)
    assert found.message.endswith("has the shape [1, 3, 64, 64], which [1, 3, 32, 64] does not fit")
    assert found.span is not None
    assert found.span.line == 5
    other = RECIPE.replace("{path: model.onnx}", "{path: model.onnx, inputs: {pixels: {shape: [1, 3, 64, 64]}}}")
    assert refusal(folder, other).message == "model.onnx has no input `pixels`"


def test_nothing_to_prove_on(folder: Path) -> None:
    found = refusal(folder, RECIPE[: RECIPE.index("prove")])
    assert found.message.startswith("nothing is named to prove the model on")
    assert "prove: {held_out: ...}" in (found.hint or "")


def test_the_same_samples_to_calibrate_and_to_prove(folder: Path) -> None:
    found = refusal(folder, RECIPE.replace("held-out.npy", "calibration.npy"))
    assert found.message == "the held-out samples are the calibration samples"
    # By another name it is found when the samples are read, by their content: tests/build/test_build_graph.py.


@pytest.mark.parametrize("form", ["rows", "files", "images"])
def test_too_few_that_did_not_calibrate(folder: Path, form: str) -> None:
    text, samples = RECIPE.replace("prove: {held_out: held-out.npy}", "prove: {held_out: held-out}"), scenes(12, 1)
    if form == "images":
        write_images(folder / "calibration", 8)
        write_images(folder / "held-out", 6, first=5)
        text = text.replace("{path: model.onnx}", "{path: model.onnx, inputs: {images: {image: {}}}}")
        text = text.replace("calibration.npy", "calibration")
    else:
        mixed = np.concatenate([samples[:3], scenes(3, 2)])
        (folder / "held-out").mkdir()
        if form == "rows":
            np.save(folder / "held-out.npy", mixed)
            text = RECIPE
        else:
            text = text.replace("calibration.npy", "calibration")
            (folder / "calibration").mkdir()
            for name, rows in (("calibration", samples), ("held-out", mixed)):
                for number, row in enumerate(rows):
                    np.save(folder / name / f"{number:02d}.npy", row)
    found = refusal(folder, text)
    assert found.message == "only 3 of 6 held-out samples are none that the model is calibrated on"
    assert found.span is not None
    assert found.span.line == 9


@pytest.mark.parametrize(("count", "told"), [(0, "empty"), (5, "5 calibration samples are too few")])
def test_too_few_samples(folder: Path, count: int, told: str) -> None:
    np.save(folder / "calibration.npy", scenes(5, 1)[:count])
    assert told in refusal(folder).message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is an empty file"),
        (b"\x93NUMPY", "cannot be read"),
        (b"PK\x03\x04 broken", "is cut off"),
        (b"not an array at all", "cannot be read"),
    ],
)
def test_a_damaged_file_of_samples(folder: Path, content: bytes, told: str) -> None:
    (folder / "calibration.npy").write_bytes(content)
    found = refusal(folder)
    assert told in found.message
    assert found.place == str(folder / "calibration.npy")


def test_samples_of_another_type_and_shape(folder: Path) -> None:
    np.save(folder / "calibration.npy", scenes(12, 1).astype(np.float64))
    found = refusal(folder)
    assert "have the type float64, and the input `images` takes float32" in found.message
    assert found.hint == "save them as array.astype(numpy.float32)"
    np.save(folder / "calibration.npy", scenes(12, 1).transpose(0, 2, 3, 1))
    assert "has the shape [64, 64, 3], and the input `images` takes [1, 3, 64, 64]" in refusal(folder).message


def test_a_sample_that_is_not_finite_is_named(folder: Path) -> None:
    samples = scenes(12, 1)
    samples[7, 1, 2, 3] = np.nan
    np.save(folder / "calibration.npy", samples)
    made = plan(folder)
    assert made.calibration is not None
    with pytest.raises(InputError) as caught:
        list(made.calibration.each(made.calibration_indices))
    (found,) = caught.value.diagnostics
    assert found.message == "a sample of `images` is not finite at [0, 1, 2, 3]"
    assert found.place == f"{folder / 'calibration.npy'}: sample 7"


def test_an_image_that_is_none(folder: Path) -> None:
    images = write_images(folder / "images", 8)
    text = RECIPE.replace("calibration.npy", "images").replace(
        "{path: model.onnx}", "{path: model.onnx, inputs: {images: {image: {}}}}"
    )
    assert plan(folder, text).summary.fit.verdict == "fits"
    wrong = images / "0000.png"
    wrong.write_text("not pixels")
    found = refusal(folder, text)
    assert (found.message, found.place) == ("is not an image, whatever its name says", str(wrong))


def test_images_without_a_word_on_how_they_become_the_input(folder: Path) -> None:
    write_images(folder / "images", 8)
    found = refusal(folder, RECIPE.replace("calibration.npy", "images"))
    assert "nothing says how they become the inputs" in found.message
    assert "source.inputs.images" in (found.hint or "")


def test_what_is_of_texts_means_nothing(folder: Path) -> None:
    assert refusal(folder, RECIPE + "context: 64\n").message == "`context` means nothing for an .onnx file"
    gguf = RECIPE.replace("format: onnx", "format: gguf").replace(
        "scheme: auto, calibration: calibration.npy", "scheme: q8_0"
    )
    assert refusal(folder, gguf).message == "an .onnx file does not become a `gguf`"


def test_dynamic_scales_are_for_matrix_products(folder: Path) -> None:
    found = refusal(folder, RECIPE.replace("{scheme: auto, calibration: calibration.npy}", "{scheme: int8}"))
    assert "most weights of model.onnx are in convolutions" in found.message
    assert "int8_fine" in (found.hint or "")


def test_a_graph_that_is_quantized_already(folder: Path) -> None:
    model = classifier(1)
    model.graph.node[0].input[1] = "wide"
    given = ["c1.weight", "c1.bias"]
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", given, ["wide"], "d"))
    save(model, folder / "model.onnx")
    assert "is quantized already: it has `DequantizeLinear`" in refusal(folder).message


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
    found = refusal(folder, RECIPE.replace("scheme: auto, calibration: calibration.npy", written))
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


def joined(*nodes: tuple[str, str, str], opset: int = 17) -> Any:
    """A graph of these operations: what each is, takes and makes."""
    value = helper.make_tensor_value_info
    made = [helper.make_node(op, given.split(), [out], f"/{out}") for op, given, out in nodes]
    images, last = (value(name, TensorProto.FLOAT, [1, 3, 64, 64]) for name in ("images", "last"))
    graph = helper.make_graph(made, "g", [images], [last])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (joined(("Relu", "images", "last"), opset=29), "has opset 29 of ONNX, and onnxruntime 1.32.0 takes 28 at most"),
        (
            joined(("Relu", "images", "a"), ("Add", "a nothere", "last")),
            "the node '/last' takes 'nothere', which is no",
        ),
        (
            joined(("Relu", "a", "last"), ("Relu", "images", "a")),
            "which a later node makes: the nodes are not in order",
        ),
        (joined(("Add", "images b", "a"), ("Relu", "a", "b"), ("Relu", "b", "last")), "the graph has a cycle"),
        (joined(("Relu", "images", "a"), ("Relu", "images", "a")), "makes 'a', which is there before"),
        (joined(("Relu", "images", "a")), "no node makes the output 'last'"),
        (joined(("RandomNormalLike", "images", "a"), ("Add", "a images", "last")), "'/a' is a `RandomNormalLike`: the"),
    ],
)
def test_a_graph_that_cannot_run_is_refused_by_its_file_alone(folder: Path, model: Any, told: str) -> None:
    save(model, folder / "model.onnx")
    found = refusal(folder)
    assert told in found.message
    assert found.place == "model.onnx"


def test_a_size_that_depends_on_the_data_is_told(folder: Path) -> None:
    save(joined(("NonZero", "images", "a"), ("Cast", "a", "last")), folder / "model.onnx")
    fp32 = RECIPE.replace("{scheme: auto, calibration: calibration.npy}", "{scheme: fp32}")
    assert any(
        "how many results `NonZero` gives depends on the data" in note for note in plan(folder, fp32).summary.notes
    )
