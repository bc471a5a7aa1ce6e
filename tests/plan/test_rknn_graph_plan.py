"""Plans of a user's own graph for the NPU: what rknn-toolkit2 does not take is told before it runs, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_models import SIDE, classified, classifier, detector, save
from onnx import TensorProto, helper, numpy_helper

from edgec.documents.canonical import sha256_file
from edgec.errors import Diagnostic, InputError
from edgec.plan.check import load_checked
from edgec.plan.kinds import plan_artifact
from edgec.plan.origin import open_source
from edgec.plan.rknn_graph import RknnGraphPlan

RECIPE = """\
schema: edgec/recipe/v1
name: graph
version: 1.0.0
target: rk3588-8gb
source: {path: model.onnx}
artifacts:
  - format: rknn
    quantize: {scheme: auto, calibration: calibration.npy}
prove: {held_out: held-out.npy}
"""


def plan(folder: Path, model: Any = None, text: str = RECIPE) -> RknnGraphPlan:
    save(classifier(1) if model is None else model, folder / "model.onnx")
    for name, count, seed in (("calibration.npy", 12, 1), ("held-out.npy", 6, 2)):
        if not (folder / name).exists():
            np.save(folder / name, classified(count, seed)[0])
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    loaded, target = load_checked(folder / "recipe.yaml", env={})
    header = open_source(loaded, offline=True, digest_file=sha256_file).header
    made = plan_artifact(loaded, target, header, 0)
    assert isinstance(made, RknnGraphPlan)
    return made


def refusal(folder: Path, model: Any = None, text: str = RECIPE) -> Diagnostic:
    with pytest.raises(InputError) as caught:
        plan(folder, model, text)
    found = caught.value.diagnostics[0]
    assert found.hint
    return found


def test_it_fits_and_says_what_it_is(tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert made.summary.fit.verdict == "fits"
    assert made.summary.files == ("model-auto.rknn",)
    notes = " | ".join(made.summary.notes)
    for said in ("opset 17", "input images: float32 [1, 3, 32, 32]", "not reproducible", "3 routes are tried"):
        assert said in notes


def test_sizes_follow_the_scheme(tmp_path: Path) -> None:
    sizes = {s: plan(tmp_path, text=RECIPE.replace("auto", s)).summary.output_bytes for s in ("w8a8", "mixed")}
    assert sizes["w8a8"] < sizes["mixed"]


def test_open_dimensions_are_asked_for_with_the_lines_to_add(tmp_path: Path) -> None:
    found = refusal(tmp_path, classifier("batch", side="side"))
    assert "dimension 0 (batch), dimension 2 (side)" in found.message
    assert "the NPU takes fixed shapes" in found.message
    assert "`source: {inputs: {images: {shape: [1, 3, <side>, <side>]}}}`" in str(found.hint)
    fixed = RECIPE.replace("model.onnx}", f"model.onnx, inputs: {{images: {{shape: [1, 3, {SIDE}, {SIDE}]}}}}}}")
    assert plan(tmp_path, classifier("batch", side="side"), fixed).shapes == {"images": (1, 3, SIDE, SIDE)}


def with_node(op: str, domain: str = "", **more: Any) -> Any:
    """The classifier, and another operation on its logits."""
    model = classifier(1, opset=more.pop("opset", 17))
    model.graph.node.append(helper.make_node(op, ["logits"], ["last"], "a-node", domain=domain, **more))
    model.graph.output[0].name = "last"
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def with_function() -> Any:
    model = with_node("Own", "mine")
    body = [helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(helper.make_function("mine", "Own", ["x"], ["y"], body, [helper.make_opsetid("", 17)]))
    return model


def quantized() -> Any:
    model = with_node("DynamicQuantizeLinear")
    model.graph.node[-1].output.extend(["scale", "zero"])
    model.graph.node.append(helper.make_node("DequantizeLinear", ["last", "scale", "zero"], ["float"]))
    model.graph.output[0].name = "float"
    return model


def in_halves() -> Any:
    model = classifier(1)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def to_a_number() -> Any:
    model = with_node("ReduceMean", keepdims=0)
    model.graph.output[0].type.tensor_type.shape.ClearField("dim")
    return model


def from_pixels() -> Any:
    model = classifier(1)
    model.graph.node.insert(0, helper.make_node("Cast", ["pixels"], ["images"], to=TensorProto.FLOAT))
    model.graph.input[0].name = "pixels"
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    return model


@pytest.mark.parametrize(
    ("model", "expected", "hint"),
    [
        (lambda: classifier(1, opset=20), "has opset 20, and rknn-toolkit2 2.5.0 reads 19 at most", "opset 19 or less"),
        (lambda: with_node("NonZero"), "the node 'a-node' is a `NonZero`, which", "cut the graph before it"),
        (lambda: with_node("Gelu", "com.microsoft"), "`Gelu`, of the domain `com.microsoft`", "`format: onnx`"),
        (with_function, "`Own`, a function of the file's own", "without it"),
        (quantized, "quantized already", "in float32"),
        (in_halves, "are no float32", "in float32"),
        (to_a_number, "the output `last` has no dimensions", "Reshape to [1]"),
        (from_pixels, "the input `pixels` is uint8", "`format: onnx`"),
        (lambda: classifier(2), "takes 2 samples at once", "first dimension of its shape 1"),
    ],
)
def test_what_the_toolkit_does_not_take_is_told_before_it_runs(
    tmp_path: Path, model: Callable[[], Any], expected: str, hint: str
) -> None:
    found = refusal(tmp_path, model())
    assert expected in found.message
    assert hint in str(found.hint)
    assert found.span is not None or found.place


def test_no_more_than_three_nodes_are_named(tmp_path: Path) -> None:
    model = with_node("NonZero")
    for number in range(6):
        model.graph.node.append(helper.make_node("NonZero", ["logits"], [f"n{number}"], f"more-{number}"))
    with pytest.raises(InputError) as caught:
        plan(tmp_path, model)
    assert len(caught.value.diagnostics) == 3


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("prove: {held_out: held-out.npy}\n", "", "nothing is named to prove the model on"),
        (", calibration: calibration.npy", "", "`auto` runs the model on a text or on samples, and none is named"),
        ("held-out.npy}", "nowhere.npy}", "no samples `nowhere.npy`"),
        ("target:", "context: 64\ntarget:", "`context` means nothing for an .onnx file"),
        ("rk3588-8gb", "pi5-8gb", "has no runtime for `rknn`"),
        ("scheme: auto", "scheme: int8", "int8"),
        ("calibration.npy", "boxes.npy", "a sample has the shape [4]"),
        ("calibration.npy", "doubles.npy", "have the type float64"),
        ("calibration.npy", "few.npy", "3 calibration samples are too few"),
        ("held-out.npy", "few.npy", "3 held-out samples are too few"),
    ],
)
def test_a_mistake_in_the_recipe_or_its_samples_is_told(tmp_path: Path, old: str, new: str, expected: str) -> None:
    np.save(tmp_path / "boxes.npy", np.zeros((12, 4), np.float32))
    np.save(tmp_path / "doubles.npy", np.zeros((12, 3, SIDE, SIDE)))
    np.save(tmp_path / "few.npy", classified(3, 3)[0])
    assert old in RECIPE
    assert expected in refusal(tmp_path, text=RECIPE.replace(old, new)).message


def test_every_operator_of_usual_networks_is_known(tmp_path: Path) -> None:
    text = RECIPE.replace("auto, calibration: calibration.npy", "fp16")
    np.save(tmp_path / "held-out.npy", np.zeros((6, 3, 64, 64), np.float32))
    assert plan(tmp_path, detector(), text).graph.operators["Resize"] == 1
