"""Rerankers and Nomic BERT as ONNX, built whole: pairs that are scored, and a graph that edgec writes itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from build_shop import MODEL, Shop, hub_of
from onnx_families import python_of, write_family
from test_build_onnx import checks, unpacked
from test_build_recipes import nomic

RECIPES = Path(__file__).parents[2] / "recipes"
RECIPE = """\
schema: edgec/recipe/v1
name: small
version: 1.0.0
target: pi5-8gb
source: {{path: {model}, licence: apache-2.0}}
artifacts:
  - format: onnx
    quantize: {{scheme: auto, calibration: {texts}/calibration.txt}}
  - format: onnx
    quantize: {{scheme: fp32}}
prove: {{held_out: {texts}/held_out.txt}}
"""
pytestmark = [pytest.mark.toolchain, pytest.mark.heavy("optimum")]


def test_a_reranker_is_proven_by_its_scores_of_pairs(workshop: Shop, toolchains_root: Path) -> None:
    python = python_of("optimum", toolchains_root, workshop.folder)
    model = write_family(workshop.folder / "reranker", "bert-reranker", python)
    recipe = workshop.recipe(RECIPE.format(model=model, texts=MODEL))
    built = workshop.run("build", recipe)
    assert built.code == 0, built.last

    proofs = {p["artifact"]: p for p in built.last["proofs"]}
    exact, chosen = (checks(proofs[f"onnx-{scheme}"]) for scheme in ("fp32", "auto"))
    assert exact["score error"] < 1e-4
    assert exact["same order"] == 1
    assert exact["spread of the scores"] > 0.1
    assert 1e-3 < chosen["score error"] < 0.29
    assert chosen["same order in a batch"] > 0.8
    tried = {a["name"]: a for a in proofs["onnx-auto"]["attempts"]}
    (kept,) = [a for a in tried.values() if a["chosen"]]
    # The smallest are too far away.
    assert tried["int4"]["size_bytes"] < kept["size_bytes"]
    assert tried["int4"]["score_error"] > 0.29 > kept["score_error"]
    assert tried["int4"]["mean_cosine"] is None

    folder = unpacked(workshop, built.last["bundle"])
    assert json.loads((folder / "edgec-manifest.json").read_bytes())["model"]["kind"] == "reranker"
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "Score error" in report
    assert "Mean cosine" not in report


def test_scores_that_are_too_far_away_write_no_bundle(workshop: Shop, toolchains_root: Path) -> None:
    python = python_of("optimum", toolchains_root, workshop.folder)
    model = write_family(workshop.folder / "reranker", "bert-reranker", python)
    recipe = workshop.recipe(RECIPE.format(model=model, texts=MODEL))
    only = ("--set", "artifacts=[{format: onnx, quantize: {scheme: int8}}]")
    missed = workshop.run("build", recipe, *only, "--set", "prove.max_score_error=0.01")
    assert missed.code == 4
    messages = [d["message"] for d in missed.last["diagnostics"]]
    assert any(m.startswith("score error is 0.") for m in messages)
    assert any(m.startswith("score error in a batch is 0.") for m in messages)
    assert not list((workshop.folder / "artifacts").glob("*-pi5-8gb"))
    refused = workshop.run("build", recipe, "--set", "prove.min_cosine=0.9")
    assert refused.code == 2
    assert "`prove.min_cosine` means nothing for this model" in refused.last["diagnostics"][0]["message"]


@pytest.mark.heavy("transformers")
def test_nomic_bert_is_built_from_the_hub_and_its_own_code_is_not_run(workshop: Shop, tmp_path: Path) -> None:
    files = nomic(tmp_path / "nomic")
    trap = {"AutoConfig": "trap.NomicBertConfig", "AutoModel": "trap.NomicBertModel"}
    files["config.json"] = json.dumps(json.loads(files["config.json"]) | {"auto_map": trap}).encode()
    ran = tmp_path / "ran"
    files["trap.py"] = f"open({str(ran)!r}, 'w')\n".encode()
    with hub_of(workshop, RECIPES / "pi5-nomic-embed-onnx.yaml", files) as shop:
        built = shop.run("build", RECIPES / "pi5-nomic-embed-onnx.yaml")
        assert built.code == 0, built.last
        (proof,) = built.last["proofs"]
        assert checks(proof)["mean cosine"] >= 0.99
        assert len(proof["attempts"]) == 12
        only = "artifacts=[{format: onnx, quantize: {scheme: fp32}}]"
        exact = shop.run(
            "build", RECIPES / "pi5-nomic-embed-onnx.yaml", "--set", only, "--output", shop.folder / "exact"
        )
    assert exact.code == 0, exact.last
    (proof,) = exact.last["proofs"]
    # Graph and reference share no line of code.
    assert checks(proof)["smallest cosine"] > 0.999999
    assert not ran.exists()
    folder = unpacked(workshop, exact.last["bundle"])
    assert {"torch", "toolchain optimum", "toolchain transformers"} <= json.loads(
        (folder / "edgec-manifest.json").read_bytes()
    )["tools"].keys()
