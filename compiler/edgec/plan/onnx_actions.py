"""The actions that make and prove one ONNX encoder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgec.formats.onnx.layout import OPSET
from edgec.formats.onnx.run import TOOLCHAIN, export_memory_mib, quantize_memory_mib, source_toolchain
from edgec.plan.encoder import EncoderPlan
from edgec.plan.graph import STREAMING_MIB, ActionGraph, Draft
from edgec.plan.model import ActionKind, Cost
from edgec.plan.onnx import OnnxPlan
from edgec.prove.encoder_pair.subject import proof_memory_mib
from edgec.prove.thresholds import demanded
from edgec.recipe.onnx import OnnxQuantize
from edgec.recipe.rknn import RknnQuantize

# Artifacts of one recipe share the float32 graph.
EXPORT_ACTION = "export onnx"
_COMPARED = {"encoder": "its vectors in onnxruntime", "reranker": "its scores of pairs in onnxruntime"}
_EXPORTED = {
    True: "the float32 graph, exported by Optimum and compared with torch",
    False: "the float32 graph, written by edgec and compared with transformers' own class in torch",
}


def add_onnx(graph: ActionGraph, artifact: OnnxPlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    compiled = _quantize(graph, artifact, add_export(graph, artifact))
    return add_encoder_proof(graph, artifact, compiled, kind="onnx_prove", what=_COMPARED[artifact.encoder.kind])


def add_export(graph: ActionGraph, artifact: EncoderPlan) -> str:
    """Adds the action that makes the float32 graph; returns its key."""
    size, source = artifact.graph.float_bytes, source_toolchain(artifact.encoder)
    return graph.add(
        Draft(
            kind="onnx_export",
            name=EXPORT_ACTION,
            settings={
                "opset": OPSET,
                "positions": artifact.encoder.positions,
                "beside": artifact.graph.graph_beside,
            },
            inputs={"source": graph.model},
            needs=graph.fetched,
            reason=_EXPORTED[source == TOOLCHAIN],
            cost=Cost(output_bytes=size, scratch_bytes=size, memory_mib=export_memory_mib(size)),
            toolchains=tuple(dict.fromkeys((TOOLCHAIN, source))),
        )
    )


def _quantize(graph: ActionGraph, artifact: OnnxPlan, exported: str) -> str:
    layout, quantize = artifact.layout, artifact.settings.quantize
    inputs = {"graph": exported}
    settings: dict[str, Any] = {"routes": [asdict(route) for route in layout.routes], "scheme": artifact.scheme}
    settings["files"] = list(layout.files)
    if layout.routes:
        settings["for_browser"] = layout.for_browser
    if quantize.calibration is not None:
        settings["context"] = artifact.encoder.context
    reason = add_calibration(graph, artifact, quantize, inputs, settings, has_choice=len(layout.routes) > 1)
    memory = quantize_memory_mib(layout) if layout.routes else STREAMING_MIB
    return graph.add(
        Draft(
            kind="onnx_quantize",
            name=artifact.compile_action,
            settings=settings,
            inputs=inputs,
            needs=(EXPORT_ACTION,),
            reason=reason,
            cost=Cost(
                output_bytes=layout.size_bytes,
                scratch_bytes=len(layout.routes) * layout.size_bytes + layout.float_bytes,
                memory_mib=memory,
            ),
            toolchains=(TOOLCHAIN,) if layout.routes else (),
        )
    )


def add_calibration(
    graph: ActionGraph,
    artifact: EncoderPlan,
    quantize: OnnxQuantize | RknnQuantize,
    inputs: dict[str, str],
    settings: dict[str, Any],
    *,
    has_choice: bool,
) -> str:
    """Adds what routes are calibrated on, and what they must reach where there is a choice; returns the reason."""
    reason = f"the recipe asks for {artifact.scheme}"
    if quantize.calibration is not None:
        inputs["calibration"] = graph.calibration(quantize.calibration)
        settings["max_lines"] = quantize.max_lines
        reason += f", on {len(artifact.calibration_lines)} lines of {quantize.calibration}"
    if has_choice:
        limits = demanded(artifact.scheme, graph.loaded.recipe.prove)
        reranks = artifact.encoder.kind == "reranker"
        settings["demand"] = [limits.max_score_error] if reranks else [limits.min_mean_cosine, limits.min_cosine]
    return reason


def add_encoder_proof(graph: ActionGraph, artifact: EncoderPlan, compiled: str, *, kind: ActionKind, what: str) -> str:
    """Adds the action that proves an encoder against the source in torch; returns its key. `what`: is compared."""
    prove = graph.loaded.recipe.prove
    settings = {
        "scheme": artifact.scheme,
        "thresholds": asdict(demanded(artifact.scheme, prove)),
        "context": artifact.encoder.context,
    }
    return graph.add(
        Draft(
            kind=kind,
            name=artifact.prove_action,
            settings=settings,
            inputs={"artifact": compiled, "source": graph.model, **graph.held_out()},
            needs=(*graph.fetched, artifact.compile_action),
            reason=f"{what}, the source's in torch, on {prove.held_out or 'a built-in text'}",
            cost=Cost(memory_mib=proof_memory_mib(artifact.graph.float_bytes)),
            toolchains=tuple(dict.fromkeys((TOOLCHAIN, source_toolchain(artifact.encoder)))),
        )
    )
