"""The steps that compile an encoder for Rockchip's NPU and prove it. A failed proof commits nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgec.build.attempts import kept_attempts
from edgec.build.context import StepContext
from edgec.build.encoder_steps import calibration_ids, subject_fields
from edgec.build.proofs import commit_proof
from edgec.events import Reporter
from edgec.formats.candidates import Demand
from edgec.formats.onnx.layout import MODEL_FILE
from edgec.formats.onnx.run import TOOLCHAIN as EXPORTER
from edgec.formats.rknn.layout import RknnLayout
from edgec.formats.rknn.run import (
    TOOLCHAIN,
    VECTORS_FILE,
    Compiled,
    EncoderInput,
    Texts,
    build_memory_mib,
    compile_rknn,
)
from edgec.plan.model import Action
from edgec.plan.onnx_actions import EXPORT_ACTION
from edgec.plan.rknn import RknnPlan
from edgec.prove.encoder_pair.simulated import SimulatedEncoder, prove_simulated
from edgec.prove.encoder_pair.subject import proof_memory_mib
from edgec.prove.encoder_pair.texts import proof_ids
from edgec.prove.thresholds import demanded
from edgec.store.actions import Result, Workspace


def run_rknn_build(context: StepContext, action: Action, work: Workspace) -> Result:
    """Compiles the float32 graph and simulates it on the texts of the proof."""
    artifact = next(a for a in context.plan.rknn if a.compile_action == action.name)
    encoder, layout = artifact.encoder, artifact.layout
    limits = demanded(artifact.scheme, context.plan.loaded.recipe.prove)
    made = compile_rknn(
        context.environment(TOOLCHAIN),
        context.result(EXPORT_ACTION).path(MODEL_FILE),
        EncoderInput(encoder.context, encoder.pad_id, encoder.pooling, encoder.width),
        layout,
        work.folder,
        demand=Demand(limits.min_mean_cosine, limits.min_cosine),
        texts=_texts(context, artifact, action),
        memory_mib=build_memory_mib(artifact.graph.float_bytes),
        report=context.report,
        logs=context.logs,
    )
    facts = compiled_facts(made, layout, action=action.name, report=context.report)
    return work.commit({layout.file: None, VECTORS_FILE: None}, facts)


def compiled_facts(made: Compiled, layout: RknnLayout, *, action: str, report: Reporter) -> dict[str, Any]:
    """What is kept of a compilation beside its files."""
    has_choice = len(layout.routes) > 1
    return {
        "files": [layout.file],
        "attempts": kept_attempts(action, made.tried, made.chosen, has_choice=has_choice, report=report),
        "interface": {"inputs": _tensors(made.file.inputs), "outputs": _tensors(made.file.outputs)},
        "toolkit": made.file.toolkit,
        "printed_errors": made.printed_errors,
    }


def _tensors(tensors: tuple[object, ...]) -> list[dict[str, object]]:
    return [asdict(tensor) for tensor in tensors]  # type: ignore[call-overload]


def _texts(context: StepContext, artifact: RknnPlan, action: Action) -> Texts:
    files, calibrated = context.plan.source.header.files, frozenset(artifact.calibration_lines)
    proven = proof_ids(files, artifact.encoder, context.held_out_text(action), calibrated=calibrated)
    ids = calibration_ids(context, artifact, action)
    return Texts(ids[::2], ids[1::2], proven) if len(artifact.layout.routes) > 1 else Texts(ids, [], proven)


def run_rknn_prove(context: StepContext, action: Action, work: Workspace) -> Result:
    """Proves an artifact against the source. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in context.plan.rknn if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    subject = SimulatedEncoder(
        **subject_fields(context, action, artifact, compiled),
        vectors=compiled.path(VECTORS_FILE),
        toolkit=str(compiled.facts["toolkit"]),
    )
    with context.weights_unchanged():
        proof = prove_simulated(
            subject,
            context.environment(EXPORTER),
            work.folder,
            context.report,
            memory_mib=proof_memory_mib(artifact.graph.float_bytes),
        )
    return commit_proof(work, proof)
