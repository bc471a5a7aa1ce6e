"""A user's own .onnx built whole in the toolchain `optimum`: tensors beside it, two inputs, what is missed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_shop import Shop
from graph_models import classified, classifier, detector, pairs, regressor, rows, save, scenes, two_towers
from onnx import TensorProto, helper, numpy_helper

pytestmark = [pytest.mark.toolchain, pytest.mark.heavy("optimum")]

RECIPE = """\
schema: edgec/recipe/v1
name: own
version: 1.0.0
target: pi5-4gb
source: {{path: model.onnx, licence: apache-2.0}}
artifacts:
{artifacts}
prove: {{held_out: held-out.{ending}{prove}}}
"""


def recipe(shop: Shop, *quantize: str, ending: str = "npy", prove: str = "") -> Path:
    """A recipe with an artifact for each `quantize`."""
    artifacts = "\n".join(f"  - format: onnx\n    quantize: {{{one}}}" for one in quantize)
    return shop.recipe(RECIPE.format(artifacts=artifacts, ending=ending, prove=prove and f", {prove}"))


def checks(built: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What was measured, by artifact and check."""
    return {p["artifact"]: {c["name"]: c["measured"] for c in p["checks"]} for p in built["proofs"]}


def unpacked(shop: Shop, bundle: str) -> tuple[Path, dict[str, Any]]:
    """The verified files of a bundle, and its manifest."""
    assert shop.run("verify", bundle).code == 0
    done = shop.run("unpack", bundle, shop.folder / "unpacked")
    assert done.code == 0, done.last
    return shop.folder / "unpacked", json.loads((shop.folder / "unpacked" / "edgec-manifest.json").read_bytes())


def bundles(shop: Shop) -> list[str]:
    """Names of what was built; the report of a failed proof is no bundle."""
    return [p.name for p in (shop.folder / "artifacts").glob("own-*") if p.is_dir()]


def test_a_detector_with_its_tensors_beside_it(workshop: Shop) -> None:
    # Even its smallest are: onnxruntime opens it only with those inside.
    save(detector(), workshop.folder / "model.onnx", external=True)
    samples = scenes(16, 1)
    # The histograms of onnxruntime's own calibrator grow without an end after such a one.
    samples[0] *= 1e-4
    np.save(workshop.folder / "calibration.npy", samples)
    np.save(workshop.folder / "held-out.npy", scenes(8, 2))
    given = "calibration: calibration.npy"
    text = recipe(workshop, f"scheme: auto, {given}", f"scheme: int8_static, {given}", "scheme: fp32")
    built = workshop.run("build", text)
    assert built.code == 0, built.last

    folder, manifest = unpacked(workshop, built.last["bundle"])
    names = {p.name: p.stat().st_size for p in (folder / "onnx").iterdir()}
    assert names.keys() == {
        "model-auto.onnx", "model-auto.onnx.data", "model-int8_static.onnx", "model-int8_static.onnx.data",
        "model-fp32.onnx", "model.onnx.data",
    }  # fmt: skip
    assert names["model-auto.onnx.data"] < 0.35 * names["model.onnx.data"]
    found = checks(built.last)
    assert found["onnx-fp32"]["smallest cosine"] > 0.999999
    assert 0.99 < found["onnx-int8_static"]["smallest cosine"] < 0.999999
    assert any("where values are at most" in name for name in found["onnx-auto"])
    attempts = {p["artifact"]: p["attempts"] for p in built.last["proofs"]}
    assert [a["name"] for a in attempts["onnx-int8_static"]] == ["static", "static-percentile", "static-entropy"]
    assert len(attempts["onnx-auto"]) == 6
    assert all(a["failed"] is None for a in attempts["onnx-auto"])
    (given_input,) = manifest["model"]["interfaces"]["onnx-auto"]["inputs"]
    assert (given_input["name"], given_input["shape"]) == ("images", [1, 3, 64, 64])
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "What was tried" in report

    again = workshop.run("build", text)
    assert (again.last["cached"], again.last["wall_s"] < 1) == (True, True)


def test_two_inputs_from_an_npz(workshop: Shop) -> None:
    save(two_towers(), workshop.folder / "model.onnx")
    np.savez(workshop.folder / "calibration.npz", **pairs(12, 1))
    np.savez(workshop.folder / "held-out.npz", **pairs(8, 2))
    schemes = ("scheme: int8", "scheme: int8_fine", "scheme: auto, calibration: calibration.npz")
    built = workshop.run("build", recipe(workshop, *schemes, ending="npz"))
    assert built.code == 0, built.last
    found = checks(built.last)
    assert 0.99 < found["onnx-int8"]["smallest cosine of scores"] < 0.999999
    assert {one["equal whole numbers"] for one in found.values()} == {1}
    assert {one["different answers of the source"] for one in found.values()} == {8}
    folder, _ = unpacked(workshop, built.last["bundle"])
    names = {"model-int8.onnx", "model-int8_fine.onnx", "model-auto.onnx"}
    assert {p.name for p in (folder / "onnx").iterdir()} == names


def test_two_builds_of_auto_give_the_same_digest(workshop: Shop) -> None:
    # Times and memory differ from run to run, and must not stand in what is signed.
    save(two_towers(), workshop.folder / "model.onnx")
    np.savez(workshop.folder / "calibration.npz", **pairs(12, 1))
    np.savez(workshop.folder / "held-out.npz", **pairs(8, 2))
    text = recipe(workshop, "scheme: auto, calibration: calibration.npz", ending="npz")
    one, two = (workshop.with_fresh_cache(n).run("build", text, "--output", f"out-{n}") for n in ("first", "second"))
    assert (one.code, two.code) == (0, 0), (one.last, two.last)
    assert one.last["digest"] == two.last["digest"]
    assert one.last["artifacts"][0]["route"] is not None


def test_a_classifier_of_an_old_opset_with_an_open_batch(workshop: Shop) -> None:
    save(classifier(opset=11), workshop.folder / "model.onnx")
    np.save(workshop.folder / "calibration.npy", classified(24, 3)[0])
    np.save(workshop.folder / "held-out.npy", classified(32, 4)[0])
    built = workshop.run("build", recipe(workshop, "scheme: auto, calibration: calibration.npy"))
    assert built.code == 0, built.last
    assert checks(built.last)["onnx-auto"]["top-1 agreement"] >= 0.95
    folder, _ = unpacked(workshop, built.last["bundle"])
    assert '<th class="num">Top-1</th>' in (folder / "report.html").read_text(encoding="utf-8")


def test_a_missed_proof_writes_no_bundle(workshop: Shop) -> None:
    save(two_towers(), workshop.folder / "model.onnx")
    np.savez(workshop.folder / "held-out.npz", **pairs(8, 2))
    missed = workshop.run("build", recipe(workshop, "scheme: int8", ending="npz", prove="min_cosine: 0.9999999"))
    assert missed.code == 4
    assert missed.last["diagnostics"][0]["hint"]
    assert bundles(workshop) == []

    np.savez(workshop.folder / "calibration.npz", **pairs(12, 1))
    text = recipe(workshop, "scheme: auto, calibration: calibration.npz", ending="npz", prove="min_cosine: 1")
    none = workshop.run("build", text)
    assert none.code == 4
    assert "on the calibration samples: static-all" in none.last["diagnostics"][0]["message"]
    assert bundles(workshop) == []


def test_a_large_offset_hides_no_errors(workshop: Shop) -> None:
    # A cosine of numbers near 100 is 1, whatever their differences.
    save(regressor(), workshop.folder / "model.onnx")
    np.save(workshop.folder / "calibration.npy", rows(16, 1))
    np.save(workshop.folder / "held-out.npy", rows(24, 2))
    missed = workshop.run("build", recipe(workshop, "scheme: int8_static, calibration: calibration.npy"))
    assert missed.code == 4
    assert "no route of 3 reaches" in missed.last["diagnostics"][0]["message"]
    assert "an error share of at most 0.1" in missed.last["diagnostics"][0]["message"]
    built = workshop.run("build", recipe(workshop, "scheme: auto, calibration: calibration.npy", "scheme: fp32"))
    assert built.code == 0, built.last
    found = {
        artifact: one["errors beside the samples' own differences"] for artifact, one in checks(built.last).items()
    }
    assert found["onnx-fp32"] <= 0.001
    assert found["onnx-auto"] <= 0.1


def test_samples_that_calibrated_prove_nothing(workshop: Shop) -> None:
    save(detector(), workshop.folder / "model.onnx")
    np.save(workshop.folder / "calibration.npy", scenes(8, 1))
    shutil.copyfile(workshop.folder / "calibration.npy", workshop.folder / "held-out.npy")
    text = recipe(workshop, "scheme: int8_static, calibration: calibration.npy")
    refused = workshop.run("build", text)
    assert refused.code == 2
    assert "only 0 of 8 held-out samples" in refused.last["diagnostics"][0]["message"]

    np.save(workshop.folder / "held-out.npy", np.concatenate([scenes(8, 1)[:4], scenes(4, 2)]))
    built = workshop.run("build", text)
    assert built.code == 0, built.last
    assert any(n["what"] == "4 held-out samples" for n in built.last["proofs"][0]["not_verified"])


def test_numbers_by_chance_prove_a_graph_that_is_not_quantized(workshop: Shop) -> None:
    save(detector(), workshop.folder / "model.onnx")
    text = recipe(workshop, "scheme: fp32").read_text(encoding="utf-8")
    built = workshop.run("build", workshop.recipe(text[: text.index("prove")]))
    assert built.code == 0, built.last
    assert any(n["what"] == "inputs of the model's use" for n in built.last["proofs"][0]["not_verified"])


def of_rows(last: list[Any], outputs: list[Any], *, width: int = 64) -> Any:
    """The regressor of eight numbers, with `last` behind them."""
    model = regressor(0, width)
    del model.graph.node[-1], model.graph.output[:]
    model.graph.node.extend(last)
    model.graph.output.extend(outputs)
    return model


def test_a_model_that_does_not_fit_together_is_the_files_fault(workshop: Shop) -> None:
    model = regressor()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 63
    save(model, workshop.folder / "model.onnx")
    np.save(workshop.folder / "held-out.npy", rows(8, 2, 63))
    refused = workshop.run("build", recipe(workshop, "scheme: fp32"))
    assert refused.code == 2
    found = refused.last["diagnostics"][0]
    assert found["place"] == "model.onnx"
    assert "onnxruntime 1.32.0 does not load the model: Node (/wide) Op (MatMul)" in found["message"]
    assert "Traceback" not in found["message"]


def test_a_weight_that_is_no_number_is_named(workshop: Shop) -> None:
    model = regressor()
    values = numpy_helper.to_array(model.graph.initializer[0]).copy()
    values[3, 5] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "first"))
    save(model, workshop.folder / "model.onnx")
    np.save(workshop.folder / "held-out.npy", rows(8, 2))
    refused = workshop.run("build", recipe(workshop, "scheme: fp32"))
    assert refused.code == 2
    assert refused.last["diagnostics"][0]["message"] == "the tensor 'first' is NaN at [3, 5]"


def test_numbers_that_the_model_itself_has_not(workshop: Shop) -> None:
    value = helper.make_tensor_value_info("root", TensorProto.FLOAT, [1, 1])
    save(of_rows([helper.make_node("Sqrt", ["centred"], ["root"])], [value]), workshop.folder / "model.onnx")
    np.save(workshop.folder / "calibration.npy", rows(8, 1))
    np.save(workshop.folder / "held-out.npy", rows(8, 2))
    for scheme in ("scheme: fp32", "scheme: auto, calibration: calibration.npy"):
        refused = workshop.run("build", recipe(workshop, scheme))
        assert refused.code == 2
        assert "the model itself gives NaN in `root` for" in refused.last["diagnostics"][0]["message"]


def test_infinities_that_the_model_itself_gives_are_equal(workshop: Shop) -> None:
    nodes = [
        helper.make_node("Greater", ["row", "zero"], ["seen"]),
        helper.make_node("Where", ["seen", "row", "nothing"], ["masked"]),
        helper.make_node("Add", ["masked", "centred"], ["scores"]),
    ]
    model = of_rows(nodes, [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 64])])
    for name, number in (("zero", 0.0), ("nothing", -np.inf)):
        model.graph.initializer.append(numpy_helper.from_array(np.float32([number]), name))
    save(model, workshop.folder / "model.onnx")
    np.save(workshop.folder / "held-out.npy", rows(8, 2))
    built = workshop.run("build", recipe(workshop, "scheme: fp32", "scheme: int8_fine"))
    assert built.code == 0, built.last
    assert 0.99 < checks(built.last)["onnx-int8_fine"]["smallest cosine"] < 1


def test_a_model_that_differs_from_itself(workshop: Shop) -> None:
    # Dropout as in training: an operator that is random by an input alone.
    node = helper.make_node("Dropout", ["row", "half", "training"], ["dropped"])
    model = of_rows([node], [helper.make_tensor_value_info("dropped", TensorProto.FLOAT, [1, 64])])
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "half"))
    model.graph.initializer.append(numpy_helper.from_array(np.bool_(True), "training"))
    save(model, workshop.folder / "model.onnx")
    np.save(workshop.folder / "held-out.npy", rows(8, 2))
    refused = workshop.run("build", recipe(workshop, "scheme: fp32"))
    assert refused.code == 2
    assert "gives another `dropped` each time" in refused.last["diagnostics"][0]["message"]
