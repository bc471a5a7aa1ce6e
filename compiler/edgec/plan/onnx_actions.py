"""The actions that make and prove one ONNX encoder."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgec.formats.onnx.encoder import Encoder
from edgec.formats.onnx.layout import OPSET, OnnxLayout
from edgec.formats.onnx.run import TOOLCHAIN, export_memory_mib, quantize_memory_mib
from edgec.plan.graph import STREAMING_MIB, ActionGraph, Draft
from edgec.plan.model import Cost
from edgec.plan.onnx import OnnxPlan
from edgec.prove.encoder_pair.pair import proof_memory_mib
from edgec.prove.thresholds import demanded

# Artifacts of one recipe share the float32 graph.
EXPORT_ACTION = "export onnx"


def add_onnx(graph: ActionGraph, artifact: OnnxPlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    compiled = _quantize(graph, artifact, add_export(graph, artifact.encoder, artifact.layout))
    return _proof(graph, artifact, compiled)


def add_export(graph: ActionGraph, encoder: Encoder, layout: OnnxLayout) -> str:
    """Adds the action that makes the float32 graph; returns its key."""
    size = layout.float_bytes
    return graph.add(
        Draft(
            kind="onnx_export",
            name=EXPORT_ACTION,
            settings={"opset": OPSET, "positions": encoder.positions},
            inputs={"source": graph.model},
            needs=graph.fetched,
            reason="the float32 graph, exported by Optimum and compared with torch",
            cost=Cost(output_bytes=size, scratch_bytes=size, memory_mib=export_memory_mib(size)),
            toolchains=(TOOLCHAIN,),
        )
    )


def _quantize(graph: ActionGraph, artifact: OnnxPlan, exported: str) -> str:
    layout, quantize = artifact.layout, artifact.settings.quantize
    inputs = {"graph": exported}
    settings: dict[str, Any] = {"routes": [asdict(route) for route in layout.routes], "scheme": artifact.scheme}
    reason = f"the recipe asks for {artifact.scheme}"
    if quantize.calibration is not None:
        inputs["calibration"] = graph.calibration(quantize.calibration)
        settings["max_lines"] = quantize.max_lines
        settings["context"] = artifact.encoder.context
        reason += f", on {len(artifact.calibration_lines)} lines of {quantize.calibration}"
    if len(layout.routes) > 1:
        limits = demanded(artifact.scheme, graph.loaded.recipe.prove)
        settings["demand"] = [limits.min_mean_cosine, limits.min_cosine]
    memory = quantize_memory_mib(layout.float_bytes) if layout.routes else STREAMING_MIB
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


def _proof(graph: ActionGraph, artifact: OnnxPlan, compiled: str) -> str:
    prove = graph.loaded.recipe.prove
    settings = {
        "scheme": artifact.scheme,
        "thresholds": asdict(demanded(artifact.scheme, prove)),
        "context": artifact.encoder.context,
    }
    return graph.add(
        Draft(
            kind="onnx_prove",
            name=artifact.prove_action,
            settings=settings,
            inputs={"artifact": compiled, "source": graph.model, **graph.held_out()},
            needs=(*graph.fetched, artifact.compile_action),
            reason=f"its vectors in onnxruntime, the source's in torch, on {prove.held_out or 'a built-in text'}",
            cost=Cost(memory_mib=proof_memory_mib(artifact.layout.float_bytes)),
            toolchains=(TOOLCHAIN,),
        )
    )
