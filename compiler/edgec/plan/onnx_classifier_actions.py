"""The actions that make and prove one ONNX file of an image classifier."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgec.formats.onnx.classifier_run import export_memory_mib, quantize_memory_mib
from edgec.formats.onnx.layout import OPSET
from edgec.formats.onnx.run import TOOLCHAIN
from edgec.plan.classifier import ClassifierPlan
from edgec.plan.graph import STREAMING_MIB, ActionGraph, Draft
from edgec.plan.model import ActionKind, Cost
from edgec.plan.onnx_actions import EXPORT_ACTION
from edgec.plan.onnx_classifier import OnnxClassifierPlan
from edgec.prove.classifier_pair.subject import classifier_limits, proof_memory_mib


def add_onnx_classifier(graph: ActionGraph, artifact: OnnxClassifierPlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    compiled = _quantize(graph, artifact, add_classifier_export(graph, artifact))
    return add_classifier_proof(graph, artifact, compiled, kind="classifier_prove", what="its logits in onnxruntime")


def add_classifier_export(graph: ActionGraph, artifact: ClassifierPlan) -> str:
    """Adds the action that makes the float32 graph; returns its key."""
    size = artifact.graph.float_bytes
    return graph.add(
        Draft(
            kind="classifier_export",
            name=EXPORT_ACTION,
            settings={"opset": OPSET, "shape": list(artifact.classifier.shape)},
            inputs={"source": graph.model},
            needs=graph.fetched,
            reason="the float32 graph, exported by Optimum and compared with torch",
            cost=Cost(output_bytes=size, scratch_bytes=size, memory_mib=export_memory_mib(artifact.classifier, size)),
            toolchains=(TOOLCHAIN,),
        )
    )


def _quantize(graph: ActionGraph, artifact: OnnxClassifierPlan, exported: str) -> str:
    layout = artifact.layout
    inputs = {"graph": exported}
    settings: dict[str, Any] = {"routes": [asdict(route) for route in layout.routes], "scheme": artifact.scheme}
    reason = add_image_calibration(graph, artifact, inputs, settings, has_choice=len(layout.routes) > 1)
    samples = len(artifact.calibration.paths) * artifact.classifier.image_bytes
    return graph.add(
        Draft(
            kind="classifier_quantize",
            name=artifact.compile_action,
            settings=settings,
            inputs=inputs,
            needs=(EXPORT_ACTION,),
            reason=reason,
            cost=Cost(
                output_bytes=layout.size_bytes,
                scratch_bytes=len(layout.routes) * layout.size_bytes + 2 * layout.float_bytes + samples,
                memory_mib=quantize_memory_mib(artifact.classifier) if layout.routes else STREAMING_MIB,
            ),
            toolchains=(TOOLCHAIN,) if layout.routes else (),
        )
    )


def add_image_calibration(
    graph: ActionGraph, artifact: ClassifierPlan, inputs: dict[str, str], settings: dict[str, Any], *, has_choice: bool
) -> str:
    """Adds what routes are calibrated on, and what they must reach where there is a choice; returns the reason."""
    reason = f"the recipe asks for {artifact.scheme}"
    if artifact.calibration.paths:
        inputs["calibration"] = artifact.calibration.digest
        settings["image"] = asdict(artifact.classifier.image)
        reason += f", on {len(artifact.calibration.paths)} images"
    if has_choice:
        limits = classifier_limits(artifact.scheme, graph.loaded.recipe.prove)
        settings["demand"] = [limits.min_mean_cosine, limits.min_cosine, limits.min_top1]
    return reason


def add_classifier_proof(
    graph: ActionGraph, artifact: ClassifierPlan, compiled: str, *, kind: ActionKind, what: str
) -> str:
    """Adds the action that proves a classifier against the source in torch; returns its key. `what`: is compared."""
    prove = graph.loaded.recipe.prove
    settings = {
        "scheme": artifact.scheme,
        "thresholds": asdict(classifier_limits(artifact.scheme, prove)),
        "image": asdict(artifact.classifier.image),
    }
    return graph.add(
        Draft(
            kind=kind,
            name=artifact.prove_action,
            settings=settings,
            inputs={"artifact": compiled, "source": graph.model, "held_out": artifact.held_out.digest},
            needs=(*graph.fetched, artifact.compile_action),
            reason=f"{what}, the source's in torch, on {len(artifact.held_out.paths)} images of {prove.held_out}",
            cost=Cost(memory_mib=proof_memory_mib(artifact.graph.float_bytes, artifact.classifier)),
            toolchains=(TOOLCHAIN,),
        )
    )
