"""A build of an encoder that is ended in any of its stages, from outside: nothing half-written, nothing left running.

The next build goes on from what was finished, and ends as if nothing had happened.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
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
  - format: onnx
    quantize: {{scheme: int8}}
prove: {{held_out: {held_out}}}
"""
STAGES = ("onnx_export", "onnx_quantize", "onnx_prove")


def begun(shop: Shop, recipe: Path, stage: str) -> subprocess.Popen[str]:
    """A build whose toolchain runs in this stage. It must not end before."""
    child = shop.start("build", recipe)
    assert child.stdout is not None
    for line in child.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "action_started" and event["kind"] == stage:
            while not any("host.py" in text for text in running(shop)):
                assert child.poll() is None
                time.sleep(0.02)
            time.sleep(0.2)
            return child
    raise AssertionError(f"the build ended before {stage}: {child.wait()}")


def running(shop: Shop) -> list[str]:
    """Command lines of processes that work in the shop's folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            open_files = [str(link.readlink()) for link in (path.parent / "fd").iterdir()]
        except OSError:
            continue
        if any(str(shop.folder) in place for place in (text, *open_files)) and int(path.parent.name) != os.getpid():
            found.append(text)
    return found


def ended(shop: Shop) -> list[str]:
    """What still runs when everything had time to notice."""
    for _ in range(100):
        if not running(shop):
            return []
        time.sleep(0.1)
    return running(shop)


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_an_end_in_each_stage_leaves_nothing_and_the_next_build_goes_on(workshop: Shop) -> None:
    lines = (TEXTS / "calibration.txt").read_text(encoding="utf-8").splitlines()
    model = write_encoder(workshop.folder / "encoder", lines[:2000])
    recipe = workshop.recipe(RECIPE.format(model=model, held_out=TEXTS / "held_out.txt"))
    for stage, sent in zip(STAGES, (signal.SIGINT, signal.SIGKILL, signal.SIGINT), strict=True):
        child = begun(workshop, recipe, stage)
        child.send_signal(sent)
        code = workshop.finish(child).code
        assert code == (130 if sent == signal.SIGINT else -sent)
        assert ended(workshop) == []
        assert not list(workshop.folder.glob("artifacts/small-encoder*"))
        # Only what had ended before is there.
        planned = {a["kind"]: a["cached"] for a in workshop.run("plan", recipe).last["actions"]}
        assert [planned[s] for s in STAGES] == [s < STAGES.index(stage) for s in range(len(STAGES))]
    built = workshop.run("build", recipe)
    assert built.code == 0, built.last
    assert workshop.run("verify", built.last["bundle"], "--accept-development-key").code == 0
