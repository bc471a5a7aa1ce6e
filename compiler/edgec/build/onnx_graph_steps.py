"""The steps that make ONNX files of a user's own graph and prove them. A failed proof commits nothing."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgec.build.attempts import kept_attempts
from edgec.build.context import StepContext
from edgec.build.proofs import commit_proof
from edgec.errors import InputError
from edgec.events import Note
from edgec.formats.onnx.graph_routes import GRAPH_FILE
from edgec.formats.onnx.graph_run import (
    TOOLCHAIN,
    graph_memory_mib,
    prepare_graph,
    quantize_graph,
    write_samples,
)
from edgec.formats.samples import Feed, Samples
from edgec.formats.tool_files import scratch_in
from edgec.plan.graph_plan import GraphPlan
from edgec.plan.graph_samples import MIN_HELD_OUT, too_few_left
from edgec.plan.model import Action
from edgec.plan.onnx_graph import OnnxGraphPlan
from edgec.plan.onnx_graph_actions import prepare_action
from edgec.prove.graph_pair.pair import GraphSubject, graph_limits, prove_graph
from edgec.prove.model import Attempt
from edgec.source.unchanged import file_changed
from edgec.store.actions import Result, Workspace
from edgec.store.atomic import explained

_SAMPLES = ".samples"
# Of a graph without samples: it computes the same as the source, whatever goes in.
_BY_CHANCE = 4


def run_graph_prepare(context: StepContext, action: Action, work: Workspace) -> Result:
    """Checks the user's graph, fixes its inputs and loads it once in onnxruntime."""
    artifact = next(a for a in context.plan.graphs if prepare_action(a) == action.name)
    with context.weights_unchanged():
        made = prepare_graph(
            context.environment(TOOLCHAIN), context.checkpoint().root / artifact.graph.file, artifact.graph,
            artifact.shapes, work.folder, quantizes=action.settings["raise_opset"], report=context.report,
            log=context.logs / "graph-prepare.log",
        )  # fmt: skip
    interface = {"inputs": [dict(port) for port in made.inputs], "outputs": [dict(port) for port in made.outputs]}
    return work.commit(dict.fromkeys(made.files), {"files": list(made.files), "interface": interface})


def run_graph_quantize(context: StepContext, action: Action, work: Workspace) -> Result:
    """Makes the artifact of the float32 graph: by the only route of its scheme, or by the best of several."""
    artifact = next(a for a in _planned(context) if a.compile_action == action.name)
    prepared, layout = context.result(prepare_action(artifact)), artifact.layout
    if not layout.routes:
        with explained(work.folder):
            for name, final in zip(prepared.facts["files"], layout.files, strict=True):
                shutil.copyfile(prepared.path(name), work.folder / final)
        return _commit(work, artifact, prepared, [], [])
    with scratch_in(work.folder, _SAMPLES) as folder:
        written: dict[str, str] = {}
        if artifact.calibration is not None:
            same = unchanged(artifact.calibration, action.inputs["calibration"])
            written = write_samples(same.each(artifact.calibration_indices), folder)
        chosen, tried = quantize_graph(
            context.environment(TOOLCHAIN), prepared.path(GRAPH_FILE), artifact.graph, layout, work.folder,
            demand=graph_limits(artifact.scheme, context.plan.loaded.recipe.prove), samples=list(written),
            report=context.report, log=context.logs / "graph-quantize.log",
        )  # fmt: skip
    has_choice = len(layout.routes) > 1
    attempts = kept_attempts(action.name, tried, chosen, has_choice=has_choice, report=context.report)
    return _commit(work, artifact, prepared, attempts, list(written.values()))


def _commit(
    work: Workspace,
    artifact: OnnxGraphPlan,
    prepared: Result,
    attempts: Sequence[dict[str, Any]],
    calibrated: Sequence[str],
) -> Result:
    names = list(artifact.layout.files)
    inputs = with_images(artifact, prepared.facts["interface"]["inputs"])
    facts = {
        "files": names,
        "attempts": list(attempts),
        "calibrated": list(calibrated),
        "interface": {"inputs": inputs, "outputs": prepared.facts["interface"]["outputs"]},
    }
    return work.commit(dict.fromkeys(names), facts)


def with_images(artifact: GraphPlan, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The inputs as a manifest tells them, with what must be done to an image."""
    images = {one.name: asdict(one.image) for one in artifact.inputs if one.image is not None}
    return [{**port, **({"image": images[port["name"]]} if port["name"] in images else {})} for port in inputs]


def unchanged(samples: Samples, digest: str) -> Samples:
    """The samples. Raises InputError when they are others than were planned."""
    if samples.digest != digest:
        raise file_changed(samples.path)
    return samples


def run_graph_prove(context: StepContext, action: Action, work: Workspace) -> Result:
    """Proves an artifact against the user's file. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in _planned(context) if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    with scratch_in(work.folder, _SAMPLES) as folder, context.weights_unchanged():
        samples, dropped = proving_samples(context, artifact, action, folder, frozenset(compiled.facts["calibrated"]))
        subject = GraphSubject(
            name=artifact.name,
            model=compiled.path(artifact.layout.file),
            source=context.checkpoint().root / artifact.graph.file,
            scheme=artifact.scheme,
            settings=context.plan.loaded.recipe.prove,
            samples=samples,
            by_chance=artifact.held_out is None,
            dropped=dropped,
            attempts=tuple(Attempt.model_validate(a) for a in compiled.facts["attempts"]),
            logs=context.logs,
        )
        proof = prove_graph(
            subject, context.environment(TOOLCHAIN), work.folder, context.report,
            memory_mib=graph_memory_mib(artifact.graph),
        )  # fmt: skip
    return commit_proof(work, proof)


def proving_samples(
    context: StepContext, artifact: GraphPlan, action: Action, folder: Path, calibrated: frozenset[str]
) -> tuple[list[str], int]:
    """Files of the samples that prove, and how many were left out. Raises InputError when too few are left."""
    if artifact.held_out is None:
        return list(write_samples(_by_chance(artifact), folder)), 0
    held_out = unchanged(artifact.held_out, action.inputs["held_out"])
    written = write_samples(held_out.each(artifact.held_out_indices), folder)
    left = [path for path, digest in written.items() if digest not in calibrated]
    dropped = len(written) - len(left)
    if dropped:
        context.report(Note(f"{action.name}: {dropped} held-out samples were calibrated on; they are left out"))
    if len(left) < MIN_HELD_OUT:
        # By their content: another image file may make the same sample.
        raise InputError(too_few_left(len(left), len(written), place=str(held_out.path)))
    return left, dropped


def _by_chance(artifact: GraphPlan) -> list[Feed]:
    random = np.random.default_rng(0)
    return [{one.name: _drawn(random, one.dtype, one.shape) for one in artifact.inputs} for _ in range(_BY_CHANCE)]


def _drawn(random: np.random.Generator, dtype: str, shape: Sequence[int | str]) -> Any:
    sizes = [dim if isinstance(dim, int) else 1 for dim in shape]
    kind = np.dtype(dtype)
    # Whole numbers are often indices: 0 and 1 are in every table.
    values = random.standard_normal(sizes) if kind.kind == "f" else random.integers(0, 2, sizes)
    return np.asarray(values, kind)


def _planned(context: StepContext) -> list[OnnxGraphPlan]:
    return [a for a in context.plan.graphs if isinstance(a, OnnxGraphPlan)]
