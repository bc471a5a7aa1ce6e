"""The actions that make and prove a model for Rockchip's NPU of a user's own graph."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgec.formats.onnx.graph import UserGraph
from edgec.formats.onnx.graph_run import TOOLCHAIN as RUNTIME
from edgec.formats.onnx.graph_run import graph_memory_mib
from edgec.formats.rknn.run import PLATFORM, TOOLCHAIN, build_memory_mib
from edgec.plan.graph import ActionGraph, Draft
from edgec.plan.model import Cost
from edgec.plan.onnx_graph_actions import add_preparation, prepare_action, told_inputs
from edgec.plan.rknn_graph import RknnGraphPlan
from edgec.prove.graph_pair.pair import graph_limits


def add_rknn_graph(graph: ActionGraph, artifact: RknnGraphPlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    return _prove(graph, artifact, _build(graph, artifact, add_preparation(graph, artifact)))


def rknn_graph_memory_mib(graph: UserGraph) -> int:
    """The toolkit, and onnxruntime beside it in one process."""
    return build_memory_mib(graph.float_bytes) + graph_memory_mib(graph)


def _build(graph: ActionGraph, artifact: RknnGraphPlan, prepared: str) -> str:
    layout, user = artifact.layout, artifact.graph
    # The held-out samples too: the simulator runs in the process that compiles.
    inputs = {"graph": prepared, "held_out": _digest(artifact)}
    settings: dict[str, Any] = {
        "routes": [asdict(route) for route in layout.routes],
        "scheme": artifact.scheme,
        "platform": PLATFORM,
        "inputs": told_inputs(artifact),
        "proven": list(artifact.held_out_indices),
    }
    reason = f"the recipe asks for {artifact.scheme}"
    if artifact.calibration is not None:
        inputs["calibration"] = artifact.calibration.digest
        settings["samples"] = list(artifact.calibration_indices)
        reason += f", on {len(artifact.calibration_indices)} samples of {artifact.settings.quantize.calibration}"
    if len(layout.routes) > 1:
        settings["demand"] = asdict(graph_limits(artifact.scheme, graph.loaded.recipe.prove))
    count = len(artifact.calibration_indices) + len(artifact.held_out_indices)
    samples = count * sum(port.least_bytes for port in (*user.inputs, *user.outputs))
    return graph.add(
        Draft(
            kind="rknn_graph_build",
            name=artifact.compile_action,
            settings=settings,
            inputs=inputs,
            needs=(prepare_action(artifact),),
            reason=f"{reason}; simulated in the same process",
            cost=Cost(
                output_bytes=layout.size_bytes,
                scratch_bytes=5 * user.float_bytes + 2 * samples,
                memory_mib=rknn_graph_memory_mib(user),
            ),
            toolchains=(TOOLCHAIN,),
        )
    )


def _prove(graph: ActionGraph, artifact: RknnGraphPlan, compiled: str) -> str:
    prove = graph.loaded.recipe.prove
    return graph.add(
        Draft(
            kind="rknn_graph_prove",
            name=artifact.prove_action,
            settings={
                "limits": asdict(graph_limits(artifact.scheme, prove)),
                "samples": list(artifact.held_out_indices),
                "inputs": told_inputs(artifact),
            },
            inputs={"artifact": compiled, "source": graph.model, "held_out": _digest(artifact)},
            needs=(artifact.compile_action,),
            reason=f"its simulated outputs, and the source's in onnxruntime, on {prove.held_out}",
            cost=Cost(memory_mib=graph_memory_mib(artifact.graph)),
            toolchains=(RUNTIME,),
        )
    )


def _digest(artifact: RknnGraphPlan) -> str:
    if artifact.held_out is None:
        raise ValueError("a model for the NPU is proven on samples")
    return artifact.held_out.digest
