"""The actions that make and prove one model for Rockchip's NPU."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgec.formats.rknn.run import PLATFORM, TOOLCHAIN, build_memory_mib
from edgec.plan.graph import ActionGraph, Draft
from edgec.plan.model import Cost
from edgec.plan.onnx_actions import EXPORT_ACTION, add_calibration, add_encoder_proof, add_export
from edgec.plan.rknn import RknnPlan


def add_rknn(graph: ActionGraph, artifact: RknnPlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    compiled = _build(graph, artifact, add_export(graph, artifact))
    return add_encoder_proof(graph, artifact, compiled, kind="rknn_prove", what="its simulated vectors")


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
    reason = add_calibration(graph, artifact, quantize, inputs, settings, has_choice=len(layout.routes) > 1)
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
