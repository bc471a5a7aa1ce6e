"""The steps that make an ONNX encoder and prove it. A failed proof commits nothing."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import Any

from edgec.build.context import StepContext
from edgec.build.proofs import commit_proof
from edgec.formats.candidates import Demand
from edgec.formats.onnx.encoder import token_ids
from edgec.formats.onnx.layout import MODEL_FILE
from edgec.formats.onnx.run import TOOLCHAIN, export_encoder, quantize_encoder
from edgec.plan.encoder import EncoderPlan, evenly, usable_lines
from edgec.plan.model import Action
from edgec.plan.onnx import OnnxPlan
from edgec.plan.onnx_actions import EXPORT_ACTION
from edgec.prove.encoder_pair.pair import EncoderPair, proof_memory_mib, prove_encoder_pair
from edgec.prove.model import Attempt
from edgec.prove.thresholds import demanded
from edgec.store.actions import Result, Workspace
from edgec.store.atomic import explained


def run_onnx_export(context: StepContext, _action: Action, work: Workspace) -> Result:
    """Exports the float32 graph, which counts when it agrees with torch."""
    # All of a recipe's encoders are made of one graph.
    artifact = next(a for a in context.plan.artifacts if isinstance(a, EncoderPlan))
    environment = context.environment(TOOLCHAIN)
    with context.weights_unchanged():
        made = export_encoder(
            environment, context.checkpoint(), artifact.encoder, artifact.graph, work.folder,
            report=context.report, log=context.logs / "onnx-export.log",
        )  # fmt: skip
    return work.commit({MODEL_FILE: None}, {"files": [MODEL_FILE], "max_difference": made.max_difference})


def run_onnx_quantize(context: StepContext, action: Action, work: Workspace) -> Result:
    """Makes the artifact of the float32 graph: by the only route of its scheme, or by the best of several."""
    artifact = next(a for a in context.plan.onnx if a.compile_action == action.name)
    graph = context.result(EXPORT_ACTION).path(MODEL_FILE)
    if not artifact.layout.routes:
        with explained(work.folder):
            shutil.copyfile(graph, work.folder / artifact.layout.file)
        return _commit(work, artifact, [])
    recipe = context.plan.loaded.recipe
    limits = demanded(artifact.scheme, recipe.prove)
    chosen, tried = quantize_encoder(
        context.environment(TOOLCHAIN), graph, artifact.encoder, artifact.layout, work.folder,
        demand=Demand(limits.min_mean_cosine, limits.min_cosine), texts=_calibration(context, artifact, action),
        report=context.report, log=context.logs / "onnx-quantize.log",
    )  # fmt: skip
    attempts = [Attempt(chosen=c is chosen, **asdict(c)).model_dump(mode="json") for c in tried]
    return _commit(work, artifact, attempts)


def _commit(work: Workspace, artifact: OnnxPlan, attempts: list[dict[str, Any]]) -> Result:
    name = artifact.layout.file
    return work.commit({name: None}, {"files": [name], "attempts": attempts})


def _calibration(context: StepContext, artifact: OnnxPlan, action: Action) -> list[list[int]]:
    """The token ids of the calibration text's lines."""
    quantize = artifact.settings.quantize
    if quantize.calibration is None:
        return []
    text = context.text(quantize.calibration, "calibration text", action.inputs["calibration"])
    lines = evenly(usable_lines(text), quantize.max_lines)
    return token_ids(context.plan.source.header.files, lines, artifact.encoder.context)


def run_onnx_prove(context: StepContext, action: Action, work: Workspace) -> Result:
    """Proves an artifact against the source. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in context.plan.onnx if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    recipe = context.plan.loaded.recipe
    held_out = recipe.prove.held_out
    pair = EncoderPair(
        name=artifact.name,
        source=context.checkpoint(),
        model=compiled.path(artifact.layout.file),
        encoder=artifact.encoder,
        scheme=artifact.scheme,
        settings=recipe.prove,
        held_out_text=None if held_out is None else context.text(held_out, "held-out text", action.inputs["held_out"]),
        attempts=tuple(Attempt.model_validate(a) for a in compiled.facts["attempts"]),
        calibrated=frozenset(artifact.calibration_lines),
        logs=context.logs,
    )
    with context.weights_unchanged():
        proof = prove_encoder_pair(
            pair, context.environment(TOOLCHAIN), work.folder, context.report,
            memory_mib=proof_memory_mib(artifact.layout.float_bytes),
        )  # fmt: skip
    return commit_proof(work, proof)
