"""ONNX decoders built whole in their toolchains: Qwen2 by its recipe, other schemes on docs-llama."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_models
import pytest
from build_shop import MODEL, Shop, hub_of

from edgec.events import silent
from edgec.toolchain.environments import Environment, find_toolchain, install

RECIPES = Path(__file__).parents[2] / "recipes"
RECIPE = f"""\
schema: edgec/recipe/v1
name: small-decoder
version: 1.0.0
target: pi5-4gb
source: {{path: {MODEL}, licence: apache-2.0}}
context: 128
artifacts:
  - format: onnx
    quantize: {{scheme: int8}}
  - format: onnx
    quantize: {{scheme: fp16}}
  - format: onnx
    graph: standard
    quantize: {{scheme: fp32}}
prove: {{held_out: {MODEL}/held_out.txt, windows: 2, window_tokens: 128}}
"""
# What a person on the device writes: a prompt in, the most likely text out.
GENERATE = """\
import json, sys
import onnxruntime_genai as og
model = og.Model(sys.argv[1])
tokenizer = og.Tokenizer(model)
texts = []
for prompt in json.loads(sys.argv[2]):
    ids = tokenizer.encode(prompt)
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(ids) + 16)
    generator = og.Generator(model, params)
    generator.append_tokens(ids)
    found = []
    while not generator.is_done():
        generator.generate_next_token()
        found.append(int(generator.get_next_tokens()[0]))
    texts.append(tokenizer.decode(found))
print(json.dumps(texts))
"""


@pytest.fixture(scope="session")
def genai(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The toolchain that the device's runtime is in as well."""
    log = tmp_path_factory.mktemp("logs") / "install.log"
    return install(find_toolchain("genai"), toolchains_root, offline=False, report=silent, log=log)


@pytest.fixture
def qwen2_shop(workshop: Shop) -> Iterator[Shop]:
    """A workshop whose hub has a small Qwen2 under the name and the commit that the recipe has."""
    with hub_of(workshop, RECIPES / "pi5-qwen2-onnx.yaml", engine_models.qwen2(workshop.folder)) as shop:
        yield shop


def checks(proof: dict[str, Any]) -> dict[str, float]:
    """What was measured, by the check's name."""
    return {check["name"]: check["measured"] for check in proof["checks"]}


def unpacked(shop: Shop, bundle: str, name: str = "model") -> Path:
    """The verified files of a bundle."""
    done = shop.run("unpack", bundle, shop.folder / name)
    assert done.code == 0, done.last
    return shop.folder / name


def test_the_recipe_is_planned_from_headers(qwen2_shop: Shop) -> None:
    planned = qwen2_shop.run("plan", RECIPES / "pi5-qwen2-onnx.yaml")
    assert planned.code == 0, planned.last
    (artifact,) = planned.last["artifacts"]
    assert (artifact["fit"]["verdict"], artifact["context"], artifact["is_exact"]) == ("fits", 4096, False)
    assert artifact["speeds"][0]["confidence"] == "uncalibrated"
    tools = {a["name"]: a["toolchains"] for a in planned.last["actions"]}
    assert tools["compile onnx-int4"] == tools["prove onnx-int4"] == ["genai"]


@pytest.mark.toolchain
@pytest.mark.heavy("genai")
def test_qwen2_in_four_bits_writes_from_its_folder_what_the_proof_says(qwen2_shop: Shop, genai: Environment) -> None:
    built = qwen2_shop.run("build", RECIPES / "pi5-qwen2-onnx.yaml", "--set", "prove.windows=4")
    assert built.code == 0, built.last
    (proof,) = built.last["proofs"]
    found = checks(proof)
    assert 0.001 < found["KL divergence"] < 0.05
    assert 0 < found["KL divergence, decoding"] < 0.05
    assert found["KV cache"] < 0.001

    folder = unpacked(qwen2_shop, built.last["bundle"])
    onnx = folder / "onnx" / "int4"
    # Half a byte and an eighth for each weight, the tied table once; angles of 32768 positions in float32.
    weights = 5_773_824
    assert (onnx / "model.onnx.data").stat().st_size < 0.63 * weights + 32768 * 64 * 4 + 100_000
    config = json.loads((onnx / "genai_config.json").read_bytes())
    assert config["search"]["max_length"] == 4096
    assert config["model"]["decoder"]["session_options"]["provider_options"] == []
    assert (onnx / "tokenizer.json").read_bytes() == (MODEL / "tokenizer.json").read_bytes()

    samples = [s for s in proof["samples"] if not s["prompt"].endswith("?")]
    assert len(samples) == 8
    prompts = json.dumps([sample["prompt"] for sample in samples])
    command = [str(genai.python), "-c", GENERATE, str(onnx), prompts]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [sample["text"] for sample in samples]

    manifest = json.loads((folder / "edgec-manifest.json").read_bytes())
    assert {"onnxruntime", "onnxruntime-genai", "toolchain genai", "torch"} <= manifest["tools"].keys()
    interface = manifest["model"]["interfaces"]["onnx-int4"]
    assert (interface["outputs"][0]["name"], interface["outputs"][0]["dtype"]) == ("logits", "float32")
    assert any(n["what"] == "the device's own kernels" for n in manifest["not_verified"])


@pytest.mark.toolchain
@pytest.mark.heavy("genai", "optimum")
def test_other_schemes_and_the_standard_graph_twice_the_same(workshop: Shop) -> None:
    recipe = workshop.recipe(RECIPE)
    found = []
    for number in range(2):
        built = workshop.run("build", recipe, "--output", "bundles")
        assert built.code == 0, built.last
        folder = unpacked(workshop, built.last["bundle"], f"model-{number}")
        files = sorted(path for path in (folder / "onnx").rglob("*") if path.is_file())
        found.append({str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files})
        proofs = {proof["artifact"]: checks(proof) for proof in built.last["proofs"]}
        for path in files:
            # Nothing of the machine that built it.
            assert str(workshop.folder).encode() not in path.read_bytes()
        workshop.run("clean")
        bundle = workshop.folder / built.last["bundle"]
        bundle.rename(bundle.with_name(f"{bundle.name}-{number}"))
    assert found[0] == found[1]
    assert "onnx/fp32/genai_config.json" not in found[0]
    assert proofs["onnx-fp32"]["KL divergence"] < 1e-9
    assert proofs["onnx-fp16"]["KL divergence"] < 1e-5 < proofs["onnx-int8"]["KL divergence"] < 0.001
    sizes = {scheme: (folder / "onnx" / scheme / "model.onnx.data").stat().st_size for scheme in ("int8", "fp32")}
    # The embedding is the head's matrix: a byte and an eighth for each weight, and 4 in the standard graph.
    assert sizes["int8"] < 1.14 * 5_773_824
    assert sizes["fp32"] < 4.01 * 5_773_824
