"""The actions that make and prove one language model for Rockchip's NPU."""

from __future__ import annotations

from dataclasses import asdict

from edgec.formats.rkllm.run import PLATFORM, TOOLCHAIN, build_memory_mib, logits_bytes
from edgec.plan.engine_actions import COMPARE_TOOLCHAIN
from edgec.plan.graph import ActionGraph, Draft
from edgec.plan.model import Cost
from edgec.plan.rkllm import RkllmPlan
from edgec.prove.decoder_pair.needs import pair_memory_mib
from edgec.prove.thresholds import demanded


def add_rkllm(graph: ActionGraph, artifact: RkllmPlan) -> str:
    """Adds the actions of one artifact; returns the key of its proof."""
    return _proof(graph, artifact, _build(graph, artifact))


def _build(graph: ActionGraph, artifact: RkllmPlan) -> str:
    quantize, layout, prove = artifact.settings.quantize, artifact.layout, graph.loaded.recipe.prove
    wheel, logits = artifact.wheel, logits_bytes(prove.windows, prove.window_tokens, artifact.decoder.vocabulary)
    settings = {
        "scheme": artifact.scheme,
        "platform": PLATFORM,
        "npu_cores": artifact.npu_cores,
        "context": layout.context,
        "max_lines": quantize.max_lines,
        # What is simulated, in the process that compiles.
        "windows": [prove.windows, prove.window_tokens],
    }
    inputs = {
        "source": graph.model,
        "calibration": graph.calibration(quantize.calibration or ""),
        f"{wheel.distribution} wheel": wheel.digest,
        **graph.held_out(),
    }
    return graph.add(
        Draft(
            kind="rkllm_build",
            name=artifact.compile_action,
            settings=settings,
            inputs=inputs,
            needs=graph.fetched,
            reason=f"the recipe asks for {artifact.scheme}, on {len(artifact.calibration_lines)} lines of "
            f"{quantize.calibration}; simulated in the same process",
            cost=Cost(
                output_bytes=layout.size_bytes + logits,
                scratch_bytes=layout.size_bytes,
                memory_mib=build_memory_mib(artifact.decoder),
            ),
            toolchains=(TOOLCHAIN,),
        )
    )


def _proof(graph: ActionGraph, artifact: RkllmPlan, compiled: str) -> str:
    prove = graph.loaded.recipe.prove
    settings = {"scheme": artifact.scheme, "thresholds": asdict(demanded(artifact.scheme, prove))}
    return graph.add(
        Draft(
            kind="rkllm_prove",
            name=artifact.prove_action,
            settings=settings,
            inputs={"artifact": compiled, "source": graph.model, **graph.held_out()},
            needs=(*graph.fetched, artifact.compile_action),
            reason=f"its simulated logits, the source's in torch, on {prove.held_out or 'a built-in text'}",
            cost=Cost(memory_mib=pair_memory_mib(artifact.decoder, prove)),
            toolchains=(COMPARE_TOOLCHAIN,),
        )
    )
