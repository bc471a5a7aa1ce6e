"""Plan and build of a hub model, against a hub on 127.0.0.1."""

from __future__ import annotations

import dataclasses

import pytest
from hub_server import COMMIT, REPO, HubServer
from test_build import MODEL, ran

RECIPE = f"""\
schema: edgec/recipe/v1
name: from-hub
version: 1.0.0
target: pi5-8gb
source: {{hub: {REPO}, revision: {COMMIT}}}
context: 256
artifacts:
  - format: gguf
    quantize: {{scheme: q8_0}}
prove: {{held_out: {MODEL}/held_out.txt, windows: 4}}
"""


@pytest.fixture
def hub():
    """The model of the quickstart on a hub of this test's own."""
    names = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    server = HubServer({n: (MODEL / n).read_bytes() for n in names})
    yield server
    server.close()


def test_plans_from_headers_builds_and_then_needs_no_hub(shop, hub):
    online = {"HF_ENDPOINT": hub.url, "HF_HOME": str(shop.folder / "hf"), "HF_HUB_OFFLINE": "0"}
    shop = dataclasses.replace(shop, extra=online)
    recipe = shop.recipe(RECIPE)
    planned = shop.run("plan", recipe)
    assert planned.code == 0, planned.last
    weights = (MODEL / "model.safetensors").stat().st_size
    assert sum(r.sent_bytes for r in hub.requests) < weights / 10
    assert planned.last["actions"][0]["kind"] == "fetch"
    assert planned.last["actions"][0]["cost"]["download_bytes"] == weights

    built = shop.run("build", recipe)
    assert built.code == 0, built.last
    exact = planned.last["artifacts"][0]["output_bytes"]
    (gguf,) = (shop.folder / "cache" / "store" / "results").rglob("from-hub-q8_0.gguf")
    assert gguf.stat().st_size == exact

    after = shop.run("plan", recipe).last
    assert after["actions"][0]["cost"]["download_bytes"] == after["disk_bytes"] == 0
    assert [a["runs"] for a in after["actions"]] == [False] * len(after["actions"])

    hub.forget_requests()
    again = shop.run("build", recipe, "--offline")
    assert again.last["cached"] is True
    assert ran(again) == []
    assert hub.requests == []


def test_a_misfit_is_refused_before_any_weight_is_downloaded(shop, hub):
    shop = dataclasses.replace(
        shop, extra={"HF_ENDPOINT": hub.url, "HF_HOME": str(shop.folder / "hf"), "HF_HUB_OFFLINE": "0"}
    )
    refused = shop.run("build", shop.recipe(RECIPE), "--set", f"target={shop.small_board()}", "--set", "batch=100")
    assert refused.code == 2
    assert "does not fit" in refused.last["diagnostics"][0]["message"]
    assert sum(r.sent_bytes for r in hub.requests) < (MODEL / "model.safetensors").stat().st_size / 10
