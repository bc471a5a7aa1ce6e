"""The steps that compile a language model for Rockchip's NPU and prove it. A failed proof commits nothing."""

from __future__ import annotations

from edgec.build.context import StepContext
from edgec.build.proofs import commit_proof
from edgec.formats.rkllm.run import LOGITS_FILE, PLATFORM, TOOLCHAIN, Windows, build_memory_mib, compile_rkllm
from edgec.plan.encoder import evenly, usable_lines
from edgec.plan.engine_actions import COMPARE_TOOLCHAIN
from edgec.plan.model import Action
from edgec.plan.rkllm import RkllmPlan
from edgec.prove.chat_template import render_chat, special_token_texts
from edgec.prove.decoder_pair.simulated import SimulatedDecoder, prove_simulated_decoder, simulated_windows
from edgec.store.actions import Result, Workspace


def run_rkllm_build(context: StepContext, action: Action, work: Workspace) -> Result:
    """Compiles the checkpoint with the user's toolkit and simulates it on the windows of the proof."""
    artifact = next(a for a in context.plan.rkllm if a.compile_action == action.name)
    decoder, layout = artifact.decoder, artifact.layout
    held_out = simulated_windows(_subject(context, action, artifact), context.report)
    with context.weights_unchanged():
        versions = compile_rkllm(
            context.environment(TOOLCHAIN),
            context.checkpoint().root,
            layout,
            work.folder,
            dataset=_dataset(context, artifact, action),
            windows=Windows(held_out.windows, held_out.scored_from, decoder.vocabulary),
            npu_cores=artifact.npu_cores,
            memory_mib=build_memory_mib(decoder),
            report=context.report,
            log=context.logs / f"rkllm-{layout.scheme}.log",
        )
    facts = {
        "files": [layout.file],
        "interface": {"platform": PLATFORM, "npu_cores": artifact.npu_cores, "max_context": layout.context},
        "toolkit": versions["rkllm-toolkit"],
    }
    return work.commit({layout.file: None, LOGITS_FILE: None}, facts)


def _dataset(context: StepContext, artifact: RkllmPlan, action: Action) -> list[dict[str, str]]:
    """Passages as turns of a chat: the first half of each is asked, the second is the answer."""
    quantize, files = artifact.settings.quantize, context.plan.source.header.files
    text = context.text(quantize.calibration or "", "calibration text", action.inputs["calibration"])
    special, rows = special_token_texts(files), []
    for line in evenly(usable_lines(text), quantize.max_lines):
        words = line.split(" ")
        asked, answer = (" ".join(part) for part in (words[: (len(words) + 1) // 2], words[(len(words) + 1) // 2 :]))
        if artifact.template is not None:
            asked = render_chat(artifact.template, [{"role": "user", "content": asked}], special)
        rows.append({"input": asked, "target": answer})
    return rows


def run_rkllm_prove(context: StepContext, action: Action, work: Workspace) -> Result:
    """Proves an artifact against the source. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in context.plan.rkllm if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    with context.weights_unchanged():
        proof = prove_simulated_decoder(
            _subject(context, action, artifact),
            compiled.path(LOGITS_FILE),
            str(compiled.facts["toolkit"]),
            context.environment(COMPARE_TOOLCHAIN),
            context.report,
        )
    return commit_proof(work, proof)


def _subject(context: StepContext, action: Action, artifact: RkllmPlan) -> SimulatedDecoder:
    return SimulatedDecoder(
        name=artifact.name,
        source=context.checkpoint(),
        scheme=artifact.scheme,
        settings=context.plan.loaded.recipe.prove,
        held_out_text=context.held_out_text(action),
        has_template=artifact.template is not None,
        logs=context.logs,
    )
