"""The actions that make and prove one image classifier for Rockchip's NPU."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgec.formats.rknn.run import PLATFORM, TOOLCHAIN, build_memory_mib
from edgec.plan.graph import ActionGraph, Draft
from edgec.plan.model import Cost
from edgec.plan.onnx_actions import EXPORT_ACTION
from edgec.plan.onnx_classifier_actions import add_classifier_export, add_classifier_proof, add_image_calibration
from edgec.plan.rknn_classifier import RknnClassifierPlan


def add_rknn_classifier(graph: ActionGraph, artifact: RknnClassifierPlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    compiled = _build(graph, artifact, add_classifier_export(graph, artifact))
    return add_classifier_proof(graph, artifact, compiled, kind="rknn_classifier_prove", what="its simulated logits")


def _build(graph: ActionGraph, artifact: RknnClassifierPlan, exported: str) -> str:
    layout = artifact.layout
    # The held-out images too: the simulator runs in the process that compiles.
    inputs = {"graph": exported, "held_out": artifact.held_out.digest}
    settings: dict[str, Any] = {
        "routes": [asdict(route) for route in layout.routes],
        "scheme": artifact.scheme,
        "platform": PLATFORM,
        "image": asdict(artifact.classifier.image),
    }
    reason = add_image_calibration(graph, artifact, inputs, settings, has_choice=len(layout.routes) > 1)
    float_bytes = artifact.graph.float_bytes
    samples = len(artifact.calibration.paths) + len(artifact.held_out.paths)
    return graph.add(
        Draft(
            kind="rknn_classifier_build",
            name=artifact.compile_action,
            settings=settings,
            inputs=inputs,
            needs=(EXPORT_ACTION,),
            reason=f"{reason}; simulated in the same process",
            cost=Cost(
                output_bytes=layout.size_bytes,
                scratch_bytes=5 * float_bytes + samples * artifact.classifier.image_bytes,
                memory_mib=build_memory_mib(float_bytes),
            ),
            toolchains=(TOOLCHAIN,),
        )
    )
