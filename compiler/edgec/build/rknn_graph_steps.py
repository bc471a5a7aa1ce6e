"""The steps that compile a user's own graph for Rockchip's NPU and prove it. A failed proof commits nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgec.build.context import StepContext
from edgec.build.onnx_graph_steps import proving_samples, unchanged, with_images
from edgec.build.proofs import commit_proof
from edgec.build.rknn_steps import compiled_facts
from edgec.formats.onnx.graph import Port
from edgec.formats.onnx.graph_routes import GRAPH_FILE
from edgec.formats.onnx.graph_run import TOOLCHAIN as RUNTIME
from edgec.formats.onnx.graph_run import graph_memory_mib, write_samples
from edgec.formats.rknn.run import ARRAYS_SCRIPT, TOOLCHAIN, VECTORS_FILE, RknnJob, compile_by_routes
from edgec.formats.tool_files import scratch_in
from edgec.plan.model import Action
from edgec.plan.onnx_graph_actions import prepare_action
from edgec.plan.rknn_graph import RknnGraphPlan
from edgec.plan.rknn_graph_actions import rknn_graph_memory_mib
from edgec.prove.graph_pair.pair import graph_limits
from edgec.prove.graph_pair.simulated import SimulatedGraph, prove_simulated_graph
from edgec.prove.model import Attempt
from edgec.store.actions import Result, Workspace

_SAMPLES = ".samples"


def run_rknn_graph_build(context: StepContext, action: Action, work: Workspace) -> Result:
    """Compiles the prepared graph and simulates it on the samples of the proof."""
    artifact = next(a for a in _planned(context) if a.compile_action == action.name)
    prepared = context.result(prepare_action(artifact))
    with scratch_in(work.folder, _SAMPLES) as folder:
        written: dict[str, str] = {}
        if artifact.calibration is not None:
            same = unchanged(artifact.calibration, action.inputs["calibration"])
            written = write_samples(same.each(artifact.calibration_indices), folder / "calibration")
        calibrated = frozenset(written.values())
        proven, _ = proving_samples(context, artifact, action, folder / "held-out", calibrated)
        made = compile_by_routes(
            context.environment(TOOLCHAIN),
            prepared.path(GRAPH_FILE),
            _job(artifact, prepared, list(written), proven),
            artifact.layout,
            work.folder,
            demand=graph_limits(artifact.scheme, context.plan.loaded.recipe.prove),
            memory_mib=rknn_graph_memory_mib(artifact.graph),
            report=context.report,
            logs=context.logs,
        )
    facts = compiled_facts(made, artifact.layout, action=action.name, report=context.report)
    return work.commit({artifact.layout.file: None, VECTORS_FILE: None}, _facts(artifact, facts, calibrated))


def _job(artifact: RknnGraphPlan, prepared: Result, calibration: list[str], proven: list[str]) -> RknnJob:
    """Where there is a choice, ranges come from every other sample and the rest judges."""
    has_choice = len(artifact.layout.routes) > 1
    shapes = {port.name: tuple(int(dim) for dim in port.shape) for port in artifact.graph.inputs}
    outputs = [port["shape"] for port in prepared.facts["interface"]["outputs"]]
    are_known = all(isinstance(dim, int) for shape in outputs for dim in shape)
    return RknnJob(
        script=ARRAYS_SCRIPT,
        request={
            "shapes": {name: list(shape) for name, shape in shapes.items()},
            "by_channel": True,
            "ranges": calibration[::2] if has_choice else calibration,
            "judged": calibration[1::2] if has_choice else [],
            "proven": proven,
        },
        inputs=shapes,
        outputs=tuple(tuple(shape) for shape in outputs) if are_known else None,
        results="outputs",
        input_type="float16",
        otherwise="onnx",
        judged_on="the calibration samples",
    )


def _facts(artifact: RknnGraphPlan, facts: dict[str, Any], calibrated: frozenset[str]) -> dict[str, Any]:
    graph, found = artifact.graph, facts["interface"]
    inputs, outputs = _typed(graph.inputs, found["inputs"]), _typed(graph.outputs, found["outputs"])
    interface = {"inputs": with_images(artifact, inputs), "outputs": outputs}
    return {**facts, "calibrated": sorted(calibrated), "interface": interface}


def _typed(ports: Sequence[Port], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Whole numbers stay what the graph has: of them the file says no type."""
    whole = {port.name: port.dtype for port in ports if np.dtype(port.dtype).kind != "f"}
    return [{**one, "dtype": whole.get(one["name"], one["dtype"])} for one in found]


def run_rknn_graph_prove(context: StepContext, action: Action, work: Workspace) -> Result:
    """Proves an artifact against the user's file. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in _planned(context) if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    with scratch_in(work.folder, _SAMPLES) as folder, context.weights_unchanged():
        calibrated = frozenset(compiled.facts["calibrated"])
        samples, dropped = proving_samples(context, artifact, action, folder, calibrated)
        subject = SimulatedGraph(
            name=artifact.name,
            model=compiled.path(artifact.layout.file),
            source=context.checkpoint().root / artifact.graph.file,
            scheme=artifact.scheme,
            settings=context.plan.loaded.recipe.prove,
            samples=samples,
            by_chance=False,
            dropped=dropped,
            attempts=tuple(Attempt.model_validate(a) for a in compiled.facts["attempts"]),
            logs=context.logs,
            recorded=compiled.path(VECTORS_FILE),
            toolkit=str(compiled.facts["toolkit"]),
        )
        memory = graph_memory_mib(artifact.graph)
        proof = prove_simulated_graph(subject, context.environment(RUNTIME), work.folder, context.report,
                                      memory_mib=memory)  # fmt: skip
    return commit_proof(work, proof)


def _planned(context: StepContext) -> list[RknnGraphPlan]:
    return [a for a in context.plan.graphs if isinstance(a, RknnGraphPlan)]
