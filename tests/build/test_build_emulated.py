"""`prove.emulate` of all kinds of ONNX files, built whole: decoders, rerankers, image classifiers, own graphs.

`edgec verify --emulate` must then find in the bundle alone what the build found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_shop import MODEL, Shop
from classifier_models import write_vit
from emulated_case import bench_of, emulated, sides, subject_of
from graph_models import detector, pairs, save, scenes, two_towers
from image_folder import write_images
from onnx_families import python_of, write_family

from edgec.prove.emulated.run import prepared, run_side

RECIPE = """\
schema: edgec/recipe/v1
name: tried
version: 1.0.0
target: pi5-4gb
source: {{path: {source}, licence: apache-2.0}}
artifacts:
{artifacts}
prove: {{emulate: true, {prove}}}
"""
BEGIN = "emulated cortex-a76: "


def built(shop: Shop, source: Path | str, prove: str, *artifacts: str) -> dict[str, dict[str, float]]:
    """What the emulation measured, by artifact and check; the same from the bundle, where nothing runs again."""
    listed = "\n".join(f"  - {{format: onnx, {one}}}" for one in artifacts)
    recipe = shop.recipe(RECIPE.format(source=source, artifacts=listed, prove=prove))
    done = shop.run("build", recipe)
    assert done.code == 0, done.last
    found = {proof["artifact"]: measured(proof["checks"]) for proof in done.last["proofs"]}
    kept = sorted((shop.folder / "cache" / "emulation").iterdir())
    tried = shop.run("verify", done.last["bundle"], "--accept-development-key", "--emulate", "--offline")
    assert tried.code == 0, tried.last
    again = {trial["versions"].split(" ")[0]: measured(trial["checks"]) for trial in tried.last["trials"]}
    assert again == found
    assert sorted((shop.folder / "cache" / "emulation").iterdir()) == kept
    return found


def measured(checks: list[dict[str, Any]]) -> dict[str, float]:
    """Of an emulation."""
    return {c["name"].removeprefix(BEGIN): c["measured"] for c in checks if c["name"].startswith(BEGIN)}


@emulated
@pytest.mark.heavy("emulated")
def test_decoders_by_their_logits_with_and_without_a_kv_cache(workshop: Shop, toolchains_root: Path) -> None:
    found = built(
        workshop, MODEL, f"held_out: {MODEL}/held_out.txt, windows: 2, window_tokens: 128",
        "quantize: {scheme: int4}", "quantize: {scheme: int8}", "graph: standard, quantize: {scheme: fp32}",
    )  # fmt: skip
    assert found.keys() == {"onnx-int4", "onnx-int8", "onnx-fp32"}
    for one in found.values():
        assert 0 <= one["KL divergence"] < 0.001
        assert one["top-1 agreement"] > 0.95
    # Both machines could lose the KV cache and agree.
    bench = bench_of(workshop.folder, toolchains_root)
    unpacked = workshop.folder / "unpacked"
    assert workshop.run("unpack", next((workshop.folder / "artifacts").glob("tried-*-pi5-4gb")), unpacked).code == 0
    model = unpacked / "onnx" / "int4" / "model.onnx"
    small = {name: (unpacked / f"{name}.json").read_bytes() for name in ("tokenizer", "config")}
    native, _ = sides(bench)
    subject = subject_of(model, format="onnx", **small)
    request = prepared(subject, native, workshop.folder, bench)
    with np.load(run_side(native, subject, request, workshop.folder, bench).rows) as rows:
        logits = rows["arr_0"]
    whole, single = len(request["texts"][0]["ids"]), request["single_tokens"]
    assert np.abs(logits[whole : whole + single] - logits[:single]).max() < 0.01 * np.abs(logits).max()


@emulated
@pytest.mark.heavy("emulated")
def test_a_reranker_by_its_scores_of_pairs(workshop: Shop, toolchains_root: Path) -> None:
    python = python_of("optimum", toolchains_root, workshop.folder)
    model = write_family(workshop.folder / "reranker", "bert-reranker", python)
    schemes = "quantize: {scheme: fp32}", "quantize: {scheme: int8_fine}"
    found = built(workshop, model, f"held_out: {MODEL}/held_out.txt", *schemes)
    assert 0 <= found["onnx-fp32"]["score error"] < 0.001
    assert 0 <= found["onnx-int8_fine"]["score error"] < 0.2


@emulated
@pytest.mark.heavy("emulated")
def test_an_image_classifier_by_drawn_pictures(workshop: Shop) -> None:
    write_images(workshop.folder / "held-out", 8)
    write_vit(workshop.folder / "model")
    found = built(workshop, "model", "held_out: held-out", "quantize: {scheme: int8_fine}", "quantize: {scheme: fp32}")
    assert found["onnx-fp32"]["smallest cosine"] > 0.99999
    assert found["onnx-int8_fine"]["smallest cosine"] > 0.99


@emulated
@pytest.mark.heavy("emulated")
def test_graphs_of_one_s_own_by_drawn_inputs(workshop: Shop) -> None:
    save(detector(), workshop.folder / "detector.onnx", external=True)
    np.save(workshop.folder / "calibration.npy", scenes(16, 1))
    np.save(workshop.folder / "held-out.npy", scenes(8, 2))
    found = built(
        workshop, "detector.onnx", "held_out: held-out.npy",
        "quantize: {scheme: int8_static, calibration: calibration.npy}", "quantize: {scheme: fp32}",
    )  # fmt: skip
    assert found["onnx-fp32"]["smallest cosine"] > 0.99999
    assert found["onnx-int8_static"]["smallest cosine"] > 0.98
    assert found["onnx-fp32"]["outputs not finite"] == 0


@emulated
@pytest.mark.heavy("emulated")
def test_a_graph_with_two_inputs_and_an_output_of_whole_numbers(workshop: Shop) -> None:
    save(two_towers(), workshop.folder / "towers.onnx")
    np.savez(workshop.folder / "held-out.npz", **pairs(8, 2))
    found = built(workshop, "towers.onnx", "held_out: held-out.npz", "quantize: {scheme: int8}")
    assert found["onnx-int8"]["smallest cosine"] > 0.98
    assert found["onnx-int8"]["equal whole numbers"] >= 0.9
