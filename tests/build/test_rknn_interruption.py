"""rknn-toolkit2 ended from outside, or hanging, while a build waits for it: nothing half-written, nothing left running.

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
from classifier_models import write_resnet
from image_folder import write_images

RECIPE = """\
schema: edgec/recipe/v1
name: small-classifier
version: 1.0.0
target: rk3588-8gb
source: {path: model, licence: apache-2.0}
artifacts:
  - format: rknn
    quantize: {scheme: w8a8, calibration: calibration}
prove: {held_out: held-out}
"""


def begun(shop: Shop, recipe: Path) -> tuple[subprocess.Popen[str], int]:
    """A build whose toolkit has begun to write, and the toolkit's process."""
    child = shop.start("build", recipe)
    assert child.stdout is not None
    event: dict[str, Any] = {}
    for line in child.stdout:
        event = json.loads(line)
        if event["event"] == "action_started" and event["kind"] == "rknn_classifier_build":
            while not (found := toolkits(shop)) or not list(shop.folder.rglob(".rknn-scratch/fixed.onnx")):
                assert child.poll() is None
                time.sleep(0.02)
            return child, found[0]
    raise AssertionError(f"the build ended before, with {child.wait()}: {event}")


def toolkits(shop: Shop) -> list[int]:
    """Processes that run a toolchain for the shop."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            places = [str(link.readlink()) for link in (path.parent / "fd").iterdir()]
        except OSError:
            continue
        if "host.py" in text and any(str(shop.folder) in place for place in (text, *places)):
            found.append(int(path.parent.name))
    return found


def left_over(shop: Shop) -> list[Path]:
    """What half a compilation would leave."""
    scratch = [*shop.folder.rglob(".rknn-scratch"), *shop.folder.rglob("*.rknn")]
    return [*scratch, *shop.folder.glob("artifacts/small-classifier*")]


@pytest.mark.toolchain
@pytest.mark.heavy("optimum", "rknn")
def test_a_toolkit_that_is_killed_or_hangs_leaves_nothing_and_the_next_build_goes_on(workshop: Shop) -> None:
    write_images(workshop.folder / "calibration", 8, first=100)
    write_images(workshop.folder / "held-out", 8)
    write_resnet(workshop.folder / "model")
    recipe = workshop.recipe(RECIPE)

    child, toolkit = begun(workshop, recipe)
    os.kill(toolkit, signal.SIGKILL)
    failed = workshop.finish(child)
    assert failed.code == 3
    assert "was killed by SIGKILL" in failed.last["diagnostics"][0]["message"]
    assert (toolkits(workshop), left_over(workshop)) == ([], [])

    # It hangs, and a person loses patience.
    child, toolkit = begun(workshop, recipe)
    os.kill(toolkit, signal.SIGSTOP)
    child.send_signal(signal.SIGINT)
    assert workshop.finish(child).code == 130
    assert (toolkits(workshop), left_over(workshop)) == ([], [])

    planned = {a["kind"]: a["cached"] for a in workshop.run("plan", recipe).last["actions"]}
    assert (planned["classifier_export"], planned["rknn_classifier_build"]) == (True, False)
    built = workshop.run("build", recipe)
    assert built.code == 0, built.last
