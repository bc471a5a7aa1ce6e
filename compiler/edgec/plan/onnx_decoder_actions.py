"""The actions that make and prove one ONNX decoder."""

from __future__ import annotations

from dataclasses import asdict

from edgec.formats.onnx.decoder_files import CHUNK_TOKENS
from edgec.formats.onnx.decoder_run import TOOLCHAINS, make_memory_mib
from edgec.plan.graph import ActionGraph, Draft
from edgec.plan.model import Cost
from edgec.plan.onnx_decoder import OnnxDecoderPlan
from edgec.prove.onnx_decoder.pair import TOOLCHAIN, proof_memory_mib
from edgec.prove.thresholds import demanded

_REASONS = {
    "genai": "built by onnxruntime-genai's builder",
    "standard": "exported by Optimum with standard operators",
}


def add_onnx_decoder(graph: ActionGraph, artifact: OnnxDecoderPlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    layout = artifact.layout
    compiled = graph.add(
        Draft(
            kind="onnx_decoder",
            name=artifact.compile_action,
            settings={
                "scheme": layout.scheme,
                "graph": layout.kind,
                "options": list(layout.options),
                "context": artifact.summary.context,
                "chunk_tokens": CHUNK_TOKENS,
            },
            inputs={"source": graph.model},
            needs=graph.fetched,
            reason=f"the recipe asks for {artifact.scheme}; {_REASONS[layout.kind]}",
            cost=Cost(
                output_bytes=layout.size_bytes,
                # The tool's own files, before what is in them twice is taken out.
                scratch_bytes=layout.float_bytes * 2 if layout.kind == "standard" else layout.size_bytes * 2,
                memory_mib=make_memory_mib(layout),
            ),
            toolchains=(TOOLCHAINS[layout.kind],),
        )
    )
    prove = graph.loaded.recipe.prove
    return graph.add(
        Draft(
            kind="onnx_decoder_prove",
            name=artifact.prove_action,
            settings={
                **prove.model_dump(mode="json", by_alias=True, exclude={"emulate"}),
                # The text counts by its content, not by its name.
                "held_out": None,
                "scheme": artifact.scheme,
                "thresholds": asdict(demanded(artifact.scheme, prove)),
            },
            inputs={"artifact": compiled, "source": graph.model, **graph.held_out()},
            needs=(*graph.fetched, artifact.compile_action),
            reason=f"its logits in onnxruntime, the source's in torch, on {prove.held_out or 'a built-in text'}",
            cost=Cost(memory_mib=proof_memory_mib(artifact.decoder, layout.weights_bytes, prove)),
            toolchains=(TOOLCHAIN,),
        )
    )
