"""The steps that make an ONNX decoder and prove it. A failed proof commits nothing."""

from __future__ import annotations

from edgec.build.context import StepContext
from edgec.build.proofs import commit_proof
from edgec.formats.onnx.decoder_files import CONFIG_FILE
from edgec.formats.onnx.decoder_layout import MODEL_FILE
from edgec.formats.onnx.decoder_run import TOOLCHAINS, make_decoder
from edgec.plan.model import Action
from edgec.plan.onnx_decoder import OnnxDecoderPlan
from edgec.prove.onnx_decoder.pair import TOOLCHAIN, OnnxDecoder, prove_onnx_decoder
from edgec.store.actions import Result, Workspace


def run_onnx_decoder(context: StepContext, action: Action, work: Workspace) -> Result:
    """Builds the artifact's folder from the source."""
    artifact = next(a for a in _decoders(context) if a.compile_action == action.name)
    environment = context.environment(TOOLCHAINS[artifact.layout.kind])
    with context.weights_unchanged():
        made = make_decoder(
            environment, context.checkpoint(), artifact.decoder, artifact.layout, work.folder,
            context=artifact.summary.context, report=context.report, log=context.logs / "onnx-decoder.log",
        )  # fmt: skip
    facts = {
        "files": list(made.files),
        "folder": artifact.layout.folder,
        "interface": dict(made.interface),
        "operators": dict(made.operators),
    }
    return work.commit(dict.fromkeys(made.files), facts)


def run_onnx_decoder_prove(context: StepContext, action: Action, work: Workspace) -> Result:
    """Proves an artifact against the source. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in _decoders(context) if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    small = [f.name for f in compiled.files if f.name == CONFIG_FILE or f.name.startswith("tokenizer")]
    subject = OnnxDecoder(
        name=artifact.name,
        source=context.checkpoint(),
        model=compiled.path(MODEL_FILE),
        scheme=artifact.scheme,
        in_genai=artifact.layout.kind == "genai",
        context=artifact.summary.context,
        weights_bytes=artifact.layout.weights_bytes,
        settings=context.plan.loaded.recipe.prove,
        held_out_text=context.held_out_text(action),
        artifact_files={name: compiled.path(name).read_bytes() for name in small},
        logs=context.logs,
    )
    with context.weights_unchanged():
        proof = prove_onnx_decoder(subject, context.environment(TOOLCHAIN), context.report)
    return commit_proof(work, proof)


def _decoders(context: StepContext) -> list[OnnxDecoderPlan]:
    return [a for a in context.plan.artifacts if isinstance(a, OnnxDecoderPlan)]
