"""The actions that make and prove one artifact from which a device builds an engine."""

from __future__ import annotations

from dataclasses import asdict

from edgec.formats.edgellm.layout import EdgeLlmLayout
from edgec.plan.engine_model import EnginePlan, PlannedQuantization
from edgec.plan.graph import ActionGraph, Draft
from edgec.plan.model import Cost
from edgec.prove.decoder_pair.needs import pair_memory_mib
from edgec.prove.thresholds import demanded, max_tensor_error
from edgec.quantize.modelopt import modelopt_memory_mib

# What every proof in another framework runs in.
COMPARE_TOOLCHAIN = "transformers"


def add_engine(graph: ActionGraph, artifact: EnginePlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    inputs, needs = {"source": graph.model}, graph.fetched
    if artifact.quantized is not None:
        inputs = {"weights": _quantize(graph, artifact.quantized)}
        needs = (artifact.quantized.action,)
    if artifact.measures_kv:
        inputs["ranges"] = _ranges(graph, artifact)
        needs = (*needs, artifact.ranges_action)
    backend = artifact.backend
    is_export = isinstance(backend.layout, EdgeLlmLayout)
    compiled = graph.add(
        Draft(
            kind="export" if is_export else "checkpoint",
            name=artifact.compile_action,
            settings={"layout": backend.layout.digest, "scheme": artifact.scheme, "version": backend.version},
            inputs=inputs,
            needs=needs,
            reason=f"the recipe asks for {artifact.scheme}; {_maker(artifact)}",
            cost=Cost(
                output_bytes=backend.output_bytes, scratch_bytes=backend.scratch_bytes, memory_mib=backend.memory_mib
            ),
            toolchains=backend.toolchains,
        )
    )
    return _proof(graph, artifact, compiled)


def _maker(artifact: EnginePlan) -> str:
    if isinstance(artifact.backend.layout, EdgeLlmLayout):
        return f"Edge-LLM {artifact.backend.version} exports it"
    return f"a checkpoint for TensorRT-LLM {artifact.backend.version}"


def _quantize(graph: ActionGraph, quantized: PlannedQuantization) -> str:
    settings = {"layout": quantized.layout.digest, "tool": quantized.tool}
    inputs = {"source": graph.model}
    on = ""
    if quantized.calibration is not None:
        inputs["calibration"] = graph.calibration(quantized.calibration)
        on = f", on at most {quantized.settings.max_tokens} tokens of {quantized.calibration}"
    return graph.add(
        Draft(
            kind="quantize",
            name=quantized.action,
            settings=settings,
            inputs=inputs,
            needs=graph.fetched,
            reason=f"weights in {quantized.settings.bits} bits by {quantized.settings.method}, {quantized.tool}{on}",
            cost=Cost(
                output_bytes=quantized.layout.size_bytes,
                scratch_bytes=quantized.layout.scratch_bytes,
                memory_mib=_memory_mib(graph, quantized),
            ),
            toolchains=() if quantized.tool == "edgec" else (quantized.tool,),
        )
    )


def _memory_mib(graph: ActionGraph, quantized: PlannedQuantization) -> int:
    is_own = quantized.tool == "edgec"
    return quantized.layout.memory_mib if is_own else modelopt_memory_mib(graph.source.header)


def _ranges(graph: ActionGraph, artifact: EnginePlan) -> str:
    quantize = artifact.settings.quantize
    if quantize.calibration is None:
        raise ValueError("a checked recipe names a calibration text")
    return graph.add(
        Draft(
            kind="ranges",
            name=artifact.ranges_action,
            settings={"max_tokens": quantize.max_tokens},
            inputs={"source": graph.model, "calibration": graph.calibration(quantize.calibration)},
            needs=graph.fetched,
            reason=f"the scales of an INT8 KV cache, on at most {quantize.max_tokens} tokens of {quantize.calibration}",
        )
    )


def _proof(graph: ActionGraph, artifact: EnginePlan, compiled: str) -> str:
    prove = graph.loaded.recipe.prove
    settings = {
        **prove.model_dump(mode="json", by_alias=True, exclude={"emulate"}),
        # The text counts by its content, not by its name.
        "held_out": None,
        "scheme": artifact.scheme,
        "thresholds": asdict(demanded(artifact.scheme, prove)),
        "max_tensor_errors": {name: max_tensor_error(name) for name in ("f16", "i8", "i4")},
        "runtime": artifact.backend.version,
    }
    return graph.add(
        Draft(
            kind="compare",
            name=artifact.prove_action,
            settings=settings,
            inputs={"artifact": compiled, "source": graph.model, **graph.held_out()},
            needs=(*graph.fetched, artifact.compile_action, *_quantized_by(artifact)),
            reason=f"decode it and compare it with the source in torch, on {prove.held_out or 'a built-in text'}",
            cost=Cost(scratch_bytes=artifact.source_bytes, memory_mib=pair_memory_mib(artifact.decoder, prove)),
            toolchains=(COMPARE_TOOLCHAIN,),
        )
    )


def _quantized_by(artifact: EnginePlan) -> tuple[str, ...]:
    """The errors of the quantized weights are part of the proof."""
    return () if artifact.quantized is None else (artifact.quantized.action,)
