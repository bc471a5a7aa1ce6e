"""In the toolchain `optimum`: histograms of activations never grow, and no route of a user's graph hangs a build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_models import detector, save, scenes

from edgec.events import silent
from edgec.formats.onnx import graph_run
from edgec.toolchain.definition import find_toolchain
from edgec.toolchain.environments import Environment, install, run_json

pytestmark = [pytest.mark.toolchain, pytest.mark.heavy("optimum")]

SCRIPT = """\
import sys
from pathlib import Path
from onnxruntime.quantization.calibrate import load_tensors_data
sys.path.append({inside!r})
import graph_ranges, time_limit

def run(request, progress):
    folder = Path(request["folder"])
    return globals()[request["what"]](folder)

def bins(folder):
    ranges = graph_ranges.Ranges(folder / "m.onnx", folder, sorted(map(str, folder.glob("*.npz"))), beside=False)
    found = {{}}
    for kind in ("minmax", "percentile", "entropy"):
        data = dict(load_tensors_data(ranges.file(kind)).items())
        found[kind] = {{name: [float(one.lowest.min()), float(one.highest.max())] for name, one in data.items()}}
    found["bins"] = max(len(one.hist) for one in data.values())
    return found

def too_many(folder):
    graph_ranges._MOST_IN_SAMPLE = 10_000
    ranges = graph_ranges.Ranges(folder / "m.onnx", folder, sorted(map(str, folder.glob("*.npz"))), beside=False)
    try:
        ranges.file("entropy")
    except ValueError as error:
        return {{"told": str(error), "minmax": ranges.file("minmax").is_file()}}

def endless(folder):
    try:
        with time_limit.at_most(1):
            while True:
                try:
                    sum(range(1000))
                except Exception:
                    pass
    except time_limit.TooLong:
        return {{"ended": True}}
"""


@pytest.fixture(scope="module")
def optimum(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    log = tmp_path_factory.mktemp("logs") / "install.log"
    return install(find_toolchain("optimum"), toolchains_root, offline=False, report=silent, log=log)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A detector and samples, the first of which is all but black."""
    save(detector(), tmp_path / "m.onnx")
    samples = scenes(6, 1)
    samples[0] *= 1e-4
    for number, sample in enumerate(samples):
        np.savez(tmp_path / f"{number}.npz", images=sample[None])
    return tmp_path


def asked(optimum: Environment, folder: Path, what: str) -> dict[str, Any]:
    script = folder / "script.py"
    script.write_text(SCRIPT.format(inside=str(graph_run.QUANTIZE_SCRIPT.parent)))
    request = {"folder": str(folder), "what": what}
    return run_json(optimum, script, request, timeout_s=120, log=folder / "log", memory_mib=64)


def test_a_dark_first_sample_does_not_make_millions_of_bins(optimum: Environment, folder: Path) -> None:
    found = asked(optimum, folder, "bins")
    # What is rounded may add one at each end.
    assert 256 <= found["bins"] <= 258
    assert found["minmax"].keys() == found["percentile"].keys() == found["entropy"].keys()
    for kind in ("percentile", "entropy"):
        for name, (low, high) in found[kind].items():
            least, most = found["minmax"][name]
            slack = 1e-5 * max(abs(least), abs(most))
            assert least - slack <= low <= high <= most + slack
    assert found["percentile"] != found["minmax"]


def test_too_many_activations_are_told_before_they_are_made(optimum: Environment, folder: Path) -> None:
    found = asked(optimum, folder, "too_many")
    assert found["minmax"]
    # 64 x 64 pixels, halved twice, 16 to 64 channels: counted in millions.
    assert found["told"].startswith("not tried: 0 million activations in a sample")


def test_a_route_without_an_end_is_ended(optimum: Environment, folder: Path) -> None:
    assert asked(optimum, folder, "endless")["ended"] is True
