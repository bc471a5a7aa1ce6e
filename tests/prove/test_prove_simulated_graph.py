"""What a simulator gave for a user's graph, beside what the graph gives in onnxruntime: a wrong recording is a miss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from graph_models import classified, classifier, save
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from edgec.errors import ToolError
from edgec.events import silent
from edgec.formats.onnx.graph_run import TOOLCHAIN, write_samples
from edgec.prove.graph_pair.simulated import SimulatedGraph, prove_simulated_graph
from edgec.prove.model import Proof
from edgec.recipe.model import Prove
from edgec.toolchain.environments import find_toolchain, install

Rows = list[NDArray[np.float32]]


def proven(root: Path, folder: Path, change: Callable[[Rows], Rows]) -> Proof:
    """The proof of what was recorded: the graph's own outputs, changed."""
    environment = install(find_toolchain(TOOLCHAIN), root, offline=False, report=silent, log=folder / "install.log")
    model = save(classifier(1), folder / "model.onnx")
    feeds = [{"images": row[None]} for row in classified(8, 3)[0]]
    reference = ReferenceEvaluator(str(model))
    rows = change([np.asarray(reference.run(None, feed)[0], np.float32) for feed in feeds])
    np.savez(folder / "recorded.npz", **{f"{number}/0": row for number, row in enumerate(rows)})
    subject = SimulatedGraph(
        name="rknn-w8a8", model=model, source=model, scheme="w8a8", settings=Prove(),
        samples=list(write_samples(feeds, folder / "samples")), by_chance=False, dropped=0, attempts=(), logs=folder,
        recorded=folder / "recorded.npz", toolkit="2.5.0",
    )  # fmt: skip
    return prove_simulated_graph(subject, environment, folder, silent, memory_mib=512)


def not_finite(rows: Rows) -> Rows:
    rows[2] = rows[2] * np.float32("nan")
    return rows


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_the_same_outputs_pass_and_say_what_ran(toolchains_root: Path, tmp_path: Path) -> None:
    proof = proven(toolchains_root, tmp_path, lambda rows: rows)
    assert all(check.passed for check in proof.checks)
    assert proof.in_place_of == "RKNN on the NPU"
    assert any("not verified on hardware" in limit.why for limit in proof.not_verified)


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
@pytest.mark.parametrize(
    ("change", "missed"),
    [
        (lambda rows: rows[1:] + rows[:1], "top-1 agreement"),
        (lambda rows: rows[1:] + rows[:1], "errors beside the samples' own differences"),
        (lambda rows: [np.mean(rows, axis=0)] * len(rows), "errors beside the samples' own differences"),
        (lambda rows: [-row for row in rows], "smallest cosine"),
        (lambda rows: [row[:, ::-1] for row in rows], "top-1 agreement"),
        (lambda rows: [row[:, :-1] for row in rows], "outputs not finite, or of another shape"),
        (not_finite, "outputs not finite, or of another shape"),
    ],
)
def test_other_outputs_are_a_miss_with_what_to_do(
    toolchains_root: Path, tmp_path: Path, change: Callable[[Rows], Rows], missed: str
) -> None:
    proof = proven(toolchains_root, tmp_path, change)
    failed = {check.name: check for check in proof.checks if not check.passed}
    assert failed[missed].hint


@pytest.mark.toolchain
@pytest.mark.heavy("optimum")
def test_a_sample_without_an_output_is_an_error_with_the_log(toolchains_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        proven(toolchains_root, tmp_path, lambda rows: rows[:-1])
    assert "rknn-graph-proof.log" in str(caught.value.diagnostics[0])
