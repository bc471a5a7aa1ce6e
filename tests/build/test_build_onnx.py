"""ONNX encoders built whole in the toolchain `optimum`: all-MiniLM-L6-v2 by its recipe, a small BERT by schemes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from build_shop import Shop, encoder_files, hub_of
from encoder_models import write_encoder

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
TEXTS = ROOT / "models" / "docs-llama"
RECIPE = """\
schema: edgec/recipe/v1
name: small-encoder
version: 1.0.0
target: pi5-4gb
source: {{path: {model}, licence: apache-2.0}}
artifacts:
  - format: onnx
    quantize: {{scheme: int8_fine}}
  - format: onnx
    quantize: {{scheme: int8_static, calibration: {calibration}, max_lines: 8}}
  - format: onnx
    quantize: {{scheme: fp32}}
  - format: onnx
    quantize: {{scheme: auto, calibration: {calibration}, max_lines: 16}}
prove: {{held_out: {held_out}}}
"""


def unpacked(shop: Shop, bundle: str) -> Path:
    """The verified files of a bundle."""
    done = shop.run("unpack", bundle, shop.folder / "model")
    assert done.code == 0, done.last
    return shop.folder / "model"


def checks(proof: dict[str, Any]) -> dict[str, float]:
    """What was measured, by the check's name."""
    return {check["name"]: check["measured"] for check in proof["checks"]}


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_minilm_is_small_and_near_and_the_report_shows_what_was_rejected(
    workshop: Shop, minilm_checkpoint: Path
) -> None:
    text = (RECIPES / "pi5-minilm.yaml").read_text(encoding="utf-8").replace("../models", str(TEXTS.parent))
    before, _, after = text.partition("source:\n")
    rest = after[after.index("context:") :]
    recipe = workshop.recipe(f"{before}source: {{path: {minilm_checkpoint}, licence: apache-2.0}}\n{rest}")
    built = workshop.run("build", recipe)
    assert built.code == 0, built.last

    folder = unpacked(workshop, built.last["bundle"])
    assert 22_000_000 < (folder / "onnx" / "model-auto.onnx").stat().st_size <= 23_500_000
    # Nothing computes attention's factor at every text; before each of 13 normalizations there is a sum.
    operators = Counter(node.op_type for node in onnx.load(folder / "onnx" / "model-auto.onnx").graph.node)
    assert (operators["Sqrt"], operators["Sum"], operators["LayerNormalization"]) == (0, 13, 13)
    (proof,) = built.last["proofs"]
    assert checks(proof)["mean cosine"] >= 0.999
    assert checks(proof)["smallest cosine in a batch"] >= 0.97

    attempts = {a["name"]: a for a in proof["attempts"]}
    (chosen,) = [a for a in proof["attempts"] if a["chosen"]]
    assert (len(attempts), chosen["name"]) == (12, "dynamic-even")
    # What onnxruntime does when it is asked for no more than INT8.
    assert attempts["static-all"]["mean_cosine"] < 0.9 < attempts["dynamic-tensor"]["mean_cosine"] < 0.99
    assert attempts["dynamic-keep"]["mean_cosine"] > 0.99
    assert attempts["int4"]["size_bytes"] < 15_000_000
    assert 0.95 < attempts["int4"]["mean_cosine"] < attempts["int4-feed-forward"]["mean_cosine"] < 0.99
    assert attempts["dynamic-keep"]["size_bytes"] > 1.3 * chosen["size_bytes"]
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "What was tried" in report
    assert report.count("rejected</td>") == 11
    assert "ONNX, auto: dynamic-even" in report
    assert f"{(folder / 'onnx' / 'model-auto.onnx').stat().st_size:,} bytes as built" in report

    assert built.last["artifacts"] == [{"name": "onnx-auto", "scheme": "auto", "route": "dynamic-even"}]
    manifest = json.loads((folder / "edgec-manifest.json").read_bytes())
    assert {"onnxruntime", "optimum-onnx", "toolchain optimum", "torch"} <= manifest["tools"].keys()
    assert [a["route"] for a in manifest["artifacts"]] == ["dynamic-even"]
    assert (manifest["model"]["pooling"], manifest["model"]["normalize"]) == ("mean", True)
    assert any(n["what"] == "the device's own kernels" for n in manifest["not_verified"])
    assert (folder / "tokenizer.json").read_bytes() == (minilm_checkpoint / "tokenizer.json").read_bytes()

    again = workshop.run("build", recipe)
    assert again.last["cached"] is True
    assert again.last["wall_s"] < 1


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_a_tiny_encoder_in_other_schemes_twice_the_same(workshop: Shop) -> None:
    lines = (TEXTS / "calibration.txt").read_text(encoding="utf-8").splitlines()
    model = write_encoder(workshop.folder / "encoder", lines[:2000])
    held_out = workshop.folder / "held_out.txt"
    held_out.write_text("\n".join(lines[3000:3400]))
    recipe = workshop.recipe(RECIPE.format(model=model, calibration=TEXTS / "calibration.txt", held_out=held_out))
    found, digests = [], []
    for number in ("1", "2"):
        # A cache of its own each time: what one build measured must not stand in what another one signs.
        built = workshop.with_fresh_cache(f"cache-{number}").run("build", recipe, "--output", f"bundles-{number}")
        assert built.code == 0, built.last
        digests.append(built.last["digest"])
        folder = unpacked(workshop, built.last["bundle"])
        files = sorted((folder / "onnx").iterdir())
        found.append({p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files})
        proofs = {p["artifact"]: checks(p) for p in built.last["proofs"]}
        sizes = {p.name: p.stat().st_size for p in files}
        folder.rename(folder.with_name(f"{folder.name}-{number}"))
    assert digests[0] == digests[1]
    done = workshop.folder / "model-2"
    told = json.loads((done / "edgec-manifest.json").read_bytes())["model"]
    assert (told["kind"], told["pooling"], told["normalize"]) == ("encoder", "mean", False)
    for name in ("modules.json", "1_Pooling/config.json"):
        assert (done / name).read_bytes() == (model / name).read_bytes()
    # The time of each route is told while it runs, and only there.
    took = [e["message"] for e in built.events if "of the float32 graph's CPU time" in e.get("message", "")]
    assert len(took) == 12
    assert sum(message.endswith("; chosen") for message in took) == 1
    assert found[0] == found[1]
    assert found[0].keys() == {f"model-{s}.onnx" for s in ("auto", "fp32", "int8_fine", "int8_static")}
    assert sizes["model-int8_fine.onnx"] < 0.35 * sizes["model-fp32.onnx"]
    assert proofs["onnx-fp32"]["smallest cosine"] > 0.99999
    assert 0.996 < proofs["onnx-int8_fine"]["smallest cosine"] < 0.99999


@pytest.fixture
def hub_shop(workshop: Shop) -> Iterator[Shop]:
    """A workshop whose hub has a small BERT under the name and the commit that the recipe has."""
    with hub_of(
        workshop, RECIPES / "pi5-minilm.yaml", encoder_files(workshop.folder / "encoder", positions=256)
    ) as shop:
        yield shop


@pytest.mark.parametrize("recipe", ["pi5-minilm.yaml", "wasm-minilm.yaml"])
def test_the_recipe_is_planned_from_headers(hub_shop: Shop, recipe: str) -> None:
    planned = hub_shop.run("plan", RECIPES / recipe)
    assert planned.code == 0, planned.last
    (artifact,) = planned.last["artifacts"]
    assert (artifact["fit"]["verdict"], artifact["context"], artifact["speeds"]) == ("fits", 256, [])
    tools = {a["name"]: a["toolchains"] for a in planned.last["actions"]}
    assert tools["export onnx"] == tools["compile onnx-auto"] == tools["prove onnx-auto"] == ["optimum"]
    runtimes = [a["reason"] for a in planned.last["actions"] if a["kind"] == "runtime"]
    assert len(runtimes) == (recipe == "wasm-minilm.yaml")
    assert all("onnxruntime-web@" in reason and "@huggingface/tokenizers@" in reason for reason in runtimes)


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_the_recipe_is_built_from_a_hub(hub_shop: Shop) -> None:
    built = hub_shop.run("build", RECIPES / "pi5-minilm.yaml")
    assert built.code == 0, built.last
    (proof,) = built.last["proofs"]
    assert checks(proof)["mean cosine"] >= 0.99


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_a_missed_proof_writes_no_bundle(workshop: Shop) -> None:
    lines = (TEXTS / "calibration.txt").read_text(encoding="utf-8").splitlines()
    model = write_encoder(workshop.folder / "encoder", lines[:2000])
    recipe = workshop.recipe(
        RECIPE.format(model=model, calibration=TEXTS / "calibration.txt", held_out=TEXTS / "held_out.txt")
    )
    missed = workshop.run("build", recipe, "--set", "prove.min_cosine=0.9999999")
    assert missed.code == 4
    messages = [d["message"] for d in missed.last["diagnostics"]]
    assert any(m.startswith("smallest cosine is 0.99") for m in messages)
    assert not list((workshop.folder / "artifacts").glob("*-pi5-4gb"))
