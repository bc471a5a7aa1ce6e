"""The actions that make and prove what becomes of a user's own graph."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgec.formats.onnx.graph_run import TOOLCHAIN, graph_memory_mib, quantize_memory_mib
from edgec.plan.graph import STREAMING_MIB, ActionGraph, Draft
from edgec.plan.graph_plan import GraphPlan
from edgec.plan.model import Cost
from edgec.plan.onnx_graph import OnnxGraphPlan
from edgec.prove.graph_pair.pair import graph_limits

# Below this opset a quantized weight has no scale for each channel.
_QUANTIZABLE_OPSET = 13


def prepare_action(artifact: GraphPlan) -> str:
    """The action whose result is the float32 graph; artifacts of one recipe share it, but for what old opsets need."""
    return "prepare graph, opset 13" if _raises_opset(artifact) else "prepare graph"


def add_onnx_graph(graph: ActionGraph, artifact: OnnxGraphPlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    return _prove(graph, artifact, _quantize(graph, artifact, add_preparation(graph, artifact)))


def _raises_opset(artifact: GraphPlan) -> bool:
    return artifact.quantizes and artifact.graph.opset < _QUANTIZABLE_OPSET


def add_preparation(graph: ActionGraph, artifact: GraphPlan) -> str:
    """Adds the action that checks the graph and fixes its inputs; returns its key."""
    size = artifact.graph.file_bytes
    fixed = ", ".join(artifact.shapes)
    return graph.add(
        Draft(
            kind="graph_prepare",
            name=prepare_action(artifact),
            settings={
                "file": artifact.graph.file,
                "shapes": {name: list(shape) for name, shape in artifact.shapes.items()},
                "raise_opset": _raises_opset(artifact),
            },
            inputs={"source": graph.model},
            reason="the graph, checked and loaded in onnxruntime" + (f", with {fixed} fixed" if fixed else ""),
            cost=Cost(output_bytes=size, scratch_bytes=size, memory_mib=graph_memory_mib(artifact.graph)),
            toolchains=(TOOLCHAIN,),
        )
    )


def _quantize(graph: ActionGraph, artifact: OnnxGraphPlan, prepared: str) -> str:
    layout = artifact.layout
    inputs = {"graph": prepared}
    settings: dict[str, Any] = {
        "routes": [asdict(route) for route in layout.routes],
        "scheme": artifact.scheme,
        "file": layout.file,
    }
    reason = f"the recipe asks for {artifact.scheme}"
    if artifact.calibration is not None:
        inputs["calibration"] = artifact.calibration.digest
        taken = artifact.calibration_indices
        settings |= {"samples": list(taken), "inputs": told_inputs(artifact)}
        reason += f", on {len(taken)} samples of {artifact.settings.quantize.calibration}"
    if len(layout.routes) > 1:
        settings["demand"] = asdict(graph_limits(artifact.scheme, graph.loaded.recipe.prove))
    memory = quantize_memory_mib(artifact.graph, layout.routes) if layout.routes else STREAMING_MIB
    samples = len(artifact.calibration_indices) * sum(port.least_bytes for port in artifact.graph.inputs)
    return graph.add(
        Draft(
            kind="graph_quantize",
            name=artifact.compile_action,
            settings=settings,
            inputs=inputs,
            needs=(prepare_action(artifact),),
            reason=reason,
            cost=Cost(
                output_bytes=layout.size_bytes,
                scratch_bytes=len(layout.routes) * layout.size_bytes + 2 * layout.float_bytes + samples,
                memory_mib=memory,
            ),
            toolchains=(TOOLCHAIN,) if layout.routes else (),
        )
    )


def told_inputs(artifact: GraphPlan) -> list[dict[str, Any]]:
    """What becomes of a sample before the model sees it."""
    return [{**asdict(one), "shape": list(one.shape)} for one in artifact.inputs]


def _prove(graph: ActionGraph, artifact: OnnxGraphPlan, compiled: str) -> str:
    prove = graph.loaded.recipe.prove
    inputs = {"artifact": compiled, "source": graph.model}
    if artifact.held_out is not None:
        inputs["held_out"] = artifact.held_out.digest
    return graph.add(
        Draft(
            kind="graph_prove",
            name=artifact.prove_action,
            settings={
                "limits": asdict(graph_limits(artifact.scheme, prove)),
                "samples": list(artifact.held_out_indices),
                "inputs": told_inputs(artifact),
            },
            inputs=inputs,
            needs=(artifact.compile_action,),
            reason="its outputs and the source's, both in onnxruntime, on "
            + (prove.held_out or "numbers by chance: the graph computes the same, whatever goes in"),
            cost=Cost(memory_mib=graph_memory_mib(artifact.graph)),
            toolchains=(TOOLCHAIN,),
        )
    )
