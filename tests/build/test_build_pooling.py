"""An encoder's bundle tells a program on the device how one vector is made of a text."""

from __future__ import annotations

import json
from pathlib import Path

from build_shop import Shop
from encoder_models import write_encoder

TEXTS = Path(__file__).parents[2] / "models" / "docs-llama"
RECIPE = """\
schema: edgec/recipe/v1
name: small-encoder
version: 1.0.0
target: pi5-4gb
source: {{path: {model}, licence: apache-2.0}}
artifacts:
  - format: gguf
    quantize: {{scheme: f16}}
prove: {{held_out: {held_out}}}
"""


def test_a_gguf_encoder_says_how_it_pools_and_carries_the_files_that_say_it(shop: Shop) -> None:
    lines = (TEXTS / "calibration.txt").read_text(encoding="utf-8").splitlines()
    model = write_encoder(shop.folder / "encoder", lines[:500])
    modules = json.loads((model / "modules.json").read_text())
    modules.append({"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})
    (model / "modules.json").write_text(json.dumps(modules))
    built = shop.run("build", shop.recipe(RECIPE.format(model=model, held_out=TEXTS / "held_out.txt")))
    assert built.code == 0, built.last
    assert shop.run("unpack", built.last["bundle"], "model").code == 0
    told = json.loads((shop.folder / "model" / "edgec-manifest.json").read_bytes())["model"]
    assert (told["kind"], told["pooling"], told["normalize"]) == ("encoder", "mean", True)
    for name in ("modules.json", "1_Pooling/config.json"):
        assert (shop.folder / "model" / name).read_bytes() == (model / name).read_bytes()
