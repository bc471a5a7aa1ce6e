"""The steps that make an ONNX encoder and prove it. A failed proof commits nothing."""

from __future__ import annotations

import shutil
from typing import Any

from edgec.build.attempts import kept_attempts
from edgec.build.context import StepContext
from edgec.build.encoder_steps import calibration_texts, subject_fields
from edgec.build.proofs import commit_proof
from edgec.formats.candidates import Demand
from edgec.formats.onnx.families import NOMIC
from edgec.formats.onnx.layout import MODEL_FILE
from edgec.formats.onnx.run import TOOLCHAIN, export_encoder, quantize_encoder, source_toolchain
from edgec.formats.onnx.write_nomic_bert import write_nomic_bert
from edgec.plan.encoder import EncoderPlan
from edgec.plan.model import Action
from edgec.plan.onnx import OnnxPlan
from edgec.plan.onnx_actions import EXPORT_ACTION
from edgec.prove.encoder_pair.pair import EncoderPair, prove_encoder_pair
from edgec.prove.encoder_pair.subject import proof_memory_mib
from edgec.prove.thresholds import demanded
from edgec.store.actions import Result, Workspace
from edgec.store.atomic import explained


def run_onnx_export(context: StepContext, _action: Action, work: Workspace) -> Result:
    """Exports the float32 graph, which counts when it agrees with torch."""
    # All of a recipe's encoders are made of one graph.
    artifact = next(a for a in context.plan.artifacts if isinstance(a, EncoderPlan))
    environment, encoder, layout = context.environment(TOOLCHAIN), artifact.encoder, artifact.graph
    log = context.logs / "onnx-export.log"
    with context.weights_unchanged():
        if encoder.family == NOMIC:
            made = write_nomic_bert(
                (environment, context.environment(source_toolchain(encoder))), context.checkpoint(), encoder, layout,
                work.folder, report=context.report, log=log,
            )  # fmt: skip
        else:
            made = export_encoder(
                environment, context.checkpoint(), encoder, layout, work.folder, report=context.report, log=log
            )
    names = list(layout.graph_files)
    return work.commit(dict.fromkeys(names), {"files": names, "max_difference": made.max_difference})


def run_onnx_quantize(context: StepContext, action: Action, work: Workspace) -> Result:
    """Makes the artifact of the float32 graph: by the only route of its scheme, or by the best of several."""
    artifact = next(a for a in context.plan.onnx if a.compile_action == action.name)
    exported = context.result(EXPORT_ACTION)
    if not artifact.layout.routes:
        with explained(work.folder):
            for made, name in zip(artifact.layout.graph_files, artifact.layout.files, strict=True):
                shutil.copyfile(exported.path(made), work.folder / name)
        return _commit(work, artifact, [])
    recipe = context.plan.loaded.recipe
    limits = demanded(artifact.scheme, recipe.prove)
    score_error = limits.max_score_error if artifact.encoder.kind == "reranker" else None
    ranges, judged = calibration_texts(context, artifact, action)
    chosen, tried = quantize_encoder(
        context.environment(TOOLCHAIN), exported.path(MODEL_FILE), artifact.encoder, artifact.layout, work.folder,
        demand=Demand(limits.min_mean_cosine, limits.min_cosine, score_error=score_error), ranges=ranges, judged=judged,
        report=context.report, log=context.logs / "onnx-quantize.log",
    )  # fmt: skip
    has_choice = len(artifact.layout.routes) > 1
    attempts = kept_attempts(action.name, tried, chosen, has_choice=has_choice, report=context.report)
    return _commit(work, artifact, attempts)


def _commit(work: Workspace, artifact: OnnxPlan, attempts: list[dict[str, Any]]) -> Result:
    names = list(artifact.layout.files)
    return work.commit(dict.fromkeys(names), {"files": names, "attempts": attempts})


def run_onnx_prove(context: StepContext, action: Action, work: Workspace) -> Result:
    """Proves an artifact against the source. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in context.plan.onnx if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    pair = EncoderPair(**subject_fields(context, action, artifact, compiled), model=compiled.path(artifact.layout.file))
    with context.weights_unchanged():
        proof = prove_encoder_pair(
            pair, (context.environment(TOOLCHAIN), context.environment(source_toolchain(artifact.encoder))),
            work.folder, context.report,
            memory_mib=proof_memory_mib(artifact.graph.float_bytes),
        )  # fmt: skip
    return commit_proof(work, proof)
