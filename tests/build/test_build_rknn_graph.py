"""A user's own .onnx for the NPU of an RK3588, built whole: prepared, compiled, simulated, beside its float32 graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_shop import Shop
from graph_models import SIDE, classified, classifier, detector, save, scenes
from image_folder import write_images
from onnx import TensorProto, helper, numpy_helper

RECIPE = """\
schema: edgec/recipe/v1
name: small-graph
version: 1.0.0
target: rk3588-8gb
source: {{path: {model}, licence: apache-2.0{inputs}}}
artifacts:
{artifacts}prove: {{held_out: {held_out}}}
"""


def recipe(shop: Shop, model: Any, *schemes: str, inputs: str = "", names: str = "calibration.npy held.npy") -> Path:
    """A recipe for a model of these schemes; `names`: of the samples."""
    save(model, shop.folder / "model.onnx")
    calibration, held_out = (shop.folder / name for name in names.split())
    artifacts = "".join(
        f"  - format: rknn\n    quantize: {{scheme: {s}{'' if s == 'fp16' else f', calibration: {calibration}'}}}\n"
        for s in schemes
    )
    text = RECIPE.format(model="model.onnx", inputs=inputs, artifacts=artifacts, held_out=held_out)
    return shop.recipe(text)


def measured(built: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What was measured, by artifact and check."""
    return {p["artifact"]: {c["name"]: c["measured"] for c in p["checks"]} for p in built["proofs"]}


def unpacked(shop: Shop, bundle: str) -> tuple[Path, dict[str, Any]]:
    """The verified files of a bundle, and its manifest."""
    done = shop.run("unpack", bundle, shop.folder / "unpacked")
    assert done.code == 0, done.last
    return shop.folder / "unpacked", json.loads((shop.folder / "unpacked" / "edgec-manifest.json").read_bytes())


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_a_classifier_in_both_types_says_what_a_program_must_know(workshop: Shop) -> None:
    np.save(workshop.folder / "calibration.npy", classified(32, 5)[0])
    held_out, _ = classified(20, 6)
    # Some that calibrated too: they prove nothing.
    np.save(workshop.folder / "held.npy", np.concatenate([held_out, classified(32, 5)[0][:3]]))
    inputs = f", inputs: {{images: {{shape: [1, 3, {SIDE}, {SIDE}]}}}}"
    path = recipe(workshop, classifier("batch", opset=11), "w8a8", "fp16", inputs=inputs)
    built = workshop.run("build", path)
    assert built.code == 0, built.last
    found = measured(built.last)
    assert found["rknn-fp16"]["smallest cosine"] > 0.9999
    assert 0.99 < found["rknn-w8a8"]["smallest cosine"] < found["rknn-fp16"]["smallest cosine"]
    assert found["rknn-fp16"]["top-1 agreement"] == 1
    # All 23 prove what was not calibrated.
    answers = "different answers of the source"
    assert (found["rknn-w8a8"][answers], found["rknn-fp16"][answers]) == (20, 23)
    (proof,) = [p for p in built.last["proofs"] if p["artifact"] == "rknn-w8a8"]
    assert "rknn-toolkit2 2.5.0, its simulator" in proof["runtime"]

    folder, manifest = unpacked(workshop, built.last["bundle"])
    files = {p.name: p.read_bytes() for p in (folder / "rknn").iterdir()}
    assert set(files) == {"model-w8a8.rknn", "model-fp16.rknn"}
    assert {data[:4] for data in files.values()} == {b"RKNN"}
    told = manifest["model"]["interfaces"]
    assert told["rknn-w8a8"] == {
        "inputs": [{"name": "images", "shape": [1, 3, SIDE, SIDE], "dtype": "int8"}],
        "outputs": [{"name": "logits", "shape": [1, 6], "dtype": "int8"}],
    }
    assert told["rknn-fp16"]["outputs"][0]["dtype"] == "float16"
    reasons = {n["what"]: n["why"] for n in manifest["not_verified"]}
    assert "not verified on hardware" in reasons["the model on the NPU"]
    assert "not reproducible" in reasons["a second build with the same bytes"]
    assert "calibrated on them too" in reasons["3 held-out samples"]
    assert {"rknn-toolkit2", "toolchain rknn", "toolchain optimum"} <= manifest["tools"].keys()
    assert workshop.run("build", path).last["cached"] is True


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_a_detector_from_images_is_judged_by_boxes_and_by_scores(workshop: Shop) -> None:
    write_images(workshop.folder / "calibration", 16, first=100)
    write_images(workshop.folder / "held", 8)
    inputs = ", inputs: {images: {image: {size: [64, 64], resize: letterbox}}}"
    path = recipe(workshop, detector(), "auto", inputs=inputs, names="calibration held")
    built = workshop.run("build", path)
    assert built.code == 0, built.last
    checks = measured(built.last)["rknn-auto"]
    scores = next(value for name, value in checks.items() if name.startswith("cosine where values are at most"))
    assert scores > 0.97
    (proof,) = built.last["proofs"]
    (chosen,) = [a for a in proof["attempts"] if a["chosen"]]
    # The cosine of a whole output sees the boxes alone.
    assert chosen["min_cosine"] < checks["smallest cosine"] or chosen["name"] == "fp16"
    _, manifest = unpacked(workshop, built.last["bundle"])
    (given,) = manifest["model"]["interfaces"]["rknn-auto"]["inputs"]
    assert given["image"]["mode"] == "letterbox"


def many_inputs() -> Any:
    """Token ids and numbers go in; a vector and a choice come out; a mean drops its dimension."""
    random = np.random.default_rng(3)
    tables = {"table": random.standard_normal((50, 16)), "weight": random.standard_normal((16, 8)) * 0.4}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Add", ["rows", "bias"], ["biased"]),
        helper.make_node("ReduceMean", ["biased"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["raw"]),
        helper.make_node("Tanh", ["raw"], ["vector"]),
        helper.make_node("ArgMax", ["vector"], ["choice"], axis=1, keepdims=0),
    ]
    value = helper.make_tensor_value_info
    inputs = [value("bias", TensorProto.FLOAT, [1, 12, 16]), value("ids", TensorProto.INT64, [1, 12])]
    outputs = [value("vector", TensorProto.FLOAT, [1, 8]), value("choice", TensorProto.INT64, [1])]
    weights = [numpy_helper.from_array(data.astype(np.float32), name) for name, data in tables.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_several_inputs_and_outputs_keep_their_names_and_types(workshop: Shop) -> None:
    random = np.random.default_rng(4)
    for name, count in (("calibration.npz", 16), ("held.npz", 8)):
        bias = random.standard_normal((count, 12, 16)).astype(np.float32)
        np.savez(workshop.folder / name, ids=random.integers(0, 50, (count, 12)), bias=bias)
    path = recipe(workshop, many_inputs(), "fp16", names="calibration.npz held.npz")
    built = workshop.run("build", path)
    assert built.code == 0, built.last
    checks = measured(built.last)["rknn-fp16"]
    assert checks["smallest cosine of vector"] > 0.9999
    assert checks["equal whole numbers"] == 1
    _, manifest = unpacked(workshop, built.last["bundle"])
    told = manifest["model"]["interfaces"]["rknn-fp16"]
    assert {t["name"]: t["dtype"] for t in told["inputs"]} == {"bias": "float16", "ids": "int64"}
    assert {t["name"]: t["dtype"] for t in told["outputs"]} == {"vector": "float16", "choice": "int64"}


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_a_miss_writes_no_bundle_and_says_what_to_do(workshop: Shop) -> None:
    np.save(workshop.folder / "calibration.npy", scenes(8, 5))
    np.save(workshop.folder / "held.npy", scenes(4, 6))
    path = recipe(workshop, detector(), "w8a8")
    missed = workshop.run("build", path, "--set", "prove.min_cosine=0.99999")
    assert missed.code == 4
    found = missed.last["diagnostics"][0]
    assert "cosine" in found["message"]
    assert "`scheme: auto`" in found["hint"]
    assert not list(workshop.folder.glob("artifacts/small-graph-1.0.0-rk3588-8gb"))


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_samples_that_are_no_numbers_end_before_the_toolkit_runs(workshop: Shop) -> None:
    calibration = classified(8, 5)[0]
    calibration[3, 0, 1, 2] = np.nan
    np.save(workshop.folder / "calibration.npy", calibration)
    np.save(workshop.folder / "held.npy", classified(4, 6)[0])
    failed = workshop.run("build", recipe(workshop, classifier(1), "w8a8"))
    assert failed.code == 2
    assert "is not finite at [0, 0, 1, 2]" in failed.last["diagnostics"][0]["message"]
    assert not list(workshop.folder.glob("cache/logs/rknn-w8a8*"))
