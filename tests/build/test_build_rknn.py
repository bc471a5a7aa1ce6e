"""Encoders for the NPU of an RK3588, built whole: exported, compiled, simulated, compared with torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from build_shop import Shop, encoder_files, hub_of
from encoder_models import write_encoder

from edgec.errors import ToolError
from edgec.events import silent
from edgec.formats.candidates import Demand
from edgec.formats.rknn import run
from edgec.formats.rknn.layout import plan_layout
from edgec.toolchain.environments import find_toolchain, install, run_json

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
TEXTS = ROOT / "models" / "docs-llama"
RECIPE = """\
schema: edgec/recipe/v1
name: small-encoder
version: 1.0.0
target: rk3588-8gb
source: {{path: {model}, licence: apache-2.0}}
context: 64
artifacts:
  - format: rknn
    quantize: {{scheme: w8a8, calibration: {calibration}, max_lines: 16}}
  - format: rknn
    quantize: {{scheme: fp16}}
prove: {{held_out: {held_out}}}
"""


@pytest.fixture
def recipe(workshop: Shop) -> Path:
    lines = (TEXTS / "calibration.txt").read_text(encoding="utf-8").splitlines()
    model = write_encoder(workshop.folder / "encoder", lines[:2000])
    held_out = workshop.folder / "held_out.txt"
    held_out.write_text("\n".join(lines[3000:3400]))
    return workshop.recipe(RECIPE.format(model=model, calibration=TEXTS / "calibration.txt", held_out=held_out))


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_a_tiny_encoder_in_both_types_says_what_a_program_must_know(workshop: Shop, recipe: Path) -> None:
    built = workshop.run("build", recipe, "--set", "prove.min_cosine=0.9")
    assert built.code == 0, built.last
    done = workshop.run("unpack", built.last["bundle"], workshop.folder / "model")
    assert done.code == 0, done.last
    folder = workshop.folder / "model"
    whole, half = ((folder / "rknn" / f"model-{s}.rknn").read_bytes() for s in ("w8a8", "fp16"))
    assert whole[:4] == half[:4] == b"RKNN"
    assert len(whole) < len(half)

    proofs = {p["artifact"]: {c["name"]: c["measured"] for c in p["checks"]} for p in built.last["proofs"]}
    assert proofs["rknn-fp16"]["smallest cosine"] > 0.9999
    assert 0.9 < proofs["rknn-w8a8"]["smallest cosine"] < 0.9999
    manifest = json.loads((folder / "edgec-manifest.json").read_bytes())
    assert (manifest["model"]["pooling"], manifest["model"]["normalize"]) == ("mean", False)
    assert (folder / "1_Pooling" / "config.json").exists()
    told = manifest["model"]["interfaces"]
    assert told["rknn-w8a8"]["outputs"] == [{"name": "last_hidden_state", "shape": [1, 64, 256], "dtype": "int8"}]
    assert told["rknn-fp16"]["outputs"][0]["dtype"] == "float16"
    assert {(tuple(t["shape"]), t["dtype"]) for t in told["rknn-fp16"]["inputs"]} == {((1, 64), "int64")}
    reasons = {n["what"]: n["why"] for n in manifest["not_verified"]}
    assert "not verified on hardware" in reasons["the model on the NPU"]
    assert "not reproducible" in reasons["a second build with the same bytes"]
    assert {"rknn-toolkit2", "toolchain rknn", "toolchain optimum"} <= manifest["tools"].keys()

    again = workshop.run("build", recipe, "--set", "prove.min_cosine=0.9")
    assert again.last["cached"] is True

    missed = workshop.run("build", recipe, "--set", "prove.min_cosine=0.99999", "--output", "other")
    assert missed.code == 4
    messages = [d["message"] for d in missed.last["diagnostics"]]
    assert any(m.startswith("smallest cosine is 0.9") for m in messages)
    assert not list((workshop.folder / "other").glob("*-rk3588-8gb"))


@pytest.fixture
def hub_shop(workshop: Shop) -> Iterator[Shop]:
    """A workshop whose hub has a small BERT under the name and the commit that the recipe has."""
    with hub_of(workshop, RECIPES / "rk3588-minilm.yaml", encoder_files(workshop.folder / "encoder")) as shop:
        yield shop


def test_the_recipe_is_planned_from_headers(hub_shop: Shop) -> None:
    planned = hub_shop.run("plan", RECIPES / "rk3588-minilm.yaml")
    assert planned.code == 0, planned.last
    (artifact,) = planned.last["artifacts"]
    assert (artifact["fit"]["verdict"], artifact["context"]) == ("fits", 128)
    tools = {a["name"]: a["toolchains"] for a in planned.last["actions"]}
    assert tools["export onnx"] == tools["prove rknn-auto"] == ["optimum"]
    assert tools["compile rknn-auto"] == ["rknn"]


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_the_recipe_is_built_from_a_hub(hub_shop: Shop) -> None:
    built = hub_shop.run("build", RECIPES / "rk3588-minilm.yaml")
    assert built.code == 0, built.last
    (proof,) = built.last["proofs"]
    assert {c["name"]: c["measured"] for c in proof["checks"]}["mean cosine"] >= 0.99
    assert [a["chosen"] for a in proof["attempts"]].count(True) == 1
    chosen = next(a["name"] for a in proof["attempts"] if a["chosen"])
    assert [a["route"] for a in built.last["artifacts"]] == [chosen]
    report = (hub_shop.folder / built.last["report"]).read_text(encoding="utf-8")
    assert "Proven on the simulator, not verified on hardware" in report
    assert f"RKNN, auto: {chosen}" in report


KEPT = """
import sys
sys.path.insert(0, {inside!r})
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
import toolkit_steps

def run(request, progress):
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["middle"], keepdims=0),
             helper.make_node("Sqrt", ["middle"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [axes]),
                              opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    values = np.random.default_rng(0).random((2, 3, 4), np.float32)
    before = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {{"x": values}})[0]
    changed = toolkit_steps.keep_dimensions(model.graph)
    onnx.checker.check_model(model)
    after = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {{"x": values}})[0]
    kept = [a.i for n in model.graph.node if n.op_type == "ReduceMean" for a in n.attribute if a.name == "keepdims"]
    return {{"changed": changed, "difference": float(abs(before - after).max()), "kept": kept}}
"""


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_reductions_that_the_toolkit_may_die_of_are_rewritten(toolchains_root: Path, tmp_path: Path) -> None:
    environment = install(
        find_toolchain("rknn"), toolchains_root, offline=False, report=silent, log=tmp_path / "install.log"
    )
    script = tmp_path / "kept.py"
    script.write_text(KEPT.format(inside=str(ROOT / "compiler" / "edgec" / "formats" / "rknn" / "inside")))
    answer = run_json(environment, script, {}, timeout_s=120, log=tmp_path / "log")
    assert (answer["changed"], answer["kept"]) == (1, [1])
    assert answer["difference"] < 1e-6


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_a_graph_that_is_none_is_an_error_with_the_log(toolchains_root: Path, tmp_path: Path) -> None:
    environment = install(
        find_toolchain("rknn"), toolchains_root, offline=False, report=silent, log=tmp_path / "install.log"
    )
    (tmp_path / "graph.onnx").write_bytes(b"no graph")
    (tmp_path / "logs").mkdir()
    with pytest.raises(ToolError) as caught:
        run.compile_rknn(
            environment, tmp_path / "graph.onnx", run.EncoderInput(16, 0, "mean", 8),
            plan_layout(embeddings=1, others=1, layers=1, scheme="fp16"), tmp_path / "out",
            demand=Demand(0.9, 0.9), texts=run.Texts([], [], [[1]]), memory_mib=64, report=silent,
            logs=tmp_path / "logs",
        )  # fmt: skip
    assert "rknn-fp16-fp16.log" in (caught.value.diagnostics[0].hint or "")
    assert not list((tmp_path / "out").iterdir())
