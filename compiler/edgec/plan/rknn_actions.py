"""The actions that make and prove one model for Rockchip's NPU."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgec.formats.onnx.run import TOOLCHAIN as EXPORTER
from edgec.formats.rknn.run import PLATFORM, TOOLCHAIN, build_memory_mib
from edgec.plan.graph import ActionGraph, Draft
from edgec.plan.model import Cost
from edgec.plan.onnx_actions import EXPORT_ACTION, add_export
from edgec.plan.rknn import RknnPlan
from edgec.prove.encoder_pair.pair import proof_memory_mib
from edgec.prove.thresholds import demanded


def add_rknn(graph: ActionGraph, artifact: RknnPlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    compiled = _build(graph, artifact, add_export(graph, artifact.encoder, artifact.graph))
    return _proof(graph, artifact, compiled)


def _build(graph: ActionGraph, artifact: RknnPlan, exported: str) -> str:
    layout, quantize = artifact.layout, artifact.settings.quantize
    # The held-out text too: the simulator runs in the process that compiles.
    inputs = {"graph": exported, "source": graph.model, **graph.held_out()}
    settings: dict[str, Any] = {
        "routes": [asdict(route) for route in layout.routes],
        "scheme": artifact.scheme,
        "platform": PLATFORM,
        "length": artifact.encoder.context,
    }
    reason = f"the recipe asks for {artifact.scheme}"
    if quantize.calibration is not None:
        inputs["calibration"] = graph.calibration(quantize.calibration)
        settings["max_lines"] = quantize.max_lines
        reason += f", on {len(artifact.calibration_lines)} lines of {quantize.calibration}"
    if len(layout.routes) > 1:
        limits = demanded(artifact.scheme, graph.loaded.recipe.prove)
        settings["demand"] = [limits.min_mean_cosine, limits.min_cosine]
    float_bytes = artifact.graph.float_bytes
    return graph.add(
        Draft(
            kind="rknn_build",
            name=artifact.compile_action,
            settings=settings,
            inputs=inputs,
            needs=(EXPORT_ACTION,),
            reason=f"{reason}; simulated in the same process",
            cost=Cost(
                output_bytes=layout.size_bytes,
                scratch_bytes=5 * float_bytes,
                memory_mib=build_memory_mib(float_bytes),
            ),
            toolchains=(TOOLCHAIN,),
        )
    )


def _proof(graph: ActionGraph, artifact: RknnPlan, compiled: str) -> str:
    prove = graph.loaded.recipe.prove
    settings = {
        "scheme": artifact.scheme,
        "thresholds": asdict(demanded(artifact.scheme, prove)),
        "length": artifact.encoder.context,
    }
    return graph.add(
        Draft(
            kind="rknn_prove",
            name=artifact.prove_action,
            settings=settings,
            inputs={"artifact": compiled, "source": graph.model, **graph.held_out()},
            needs=(*graph.fetched, artifact.compile_action),
            reason=f"its simulated vectors, the source's in torch, on {prove.held_out or 'a built-in text'}",
            cost=Cost(memory_mib=proof_memory_mib(artifact.graph.float_bytes)),
            toolchains=(EXPORTER,),
        )
    )
