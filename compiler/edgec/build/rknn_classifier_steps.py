"""The steps that compile an image classifier for Rockchip's NPU and prove it. A failed proof commits nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgec.build.classifier_steps import classifier_fields, sample_files
from edgec.build.context import StepContext
from edgec.build.proofs import commit_proof
from edgec.build.rknn_steps import compiled_facts
from edgec.formats.onnx.classifier import INPUT
from edgec.formats.onnx.layout import MODEL_FILE
from edgec.formats.onnx.run import TOOLCHAIN as EXPORTER
from edgec.formats.rknn.run import (
    ARRAYS_SCRIPT,
    TOOLCHAIN,
    VECTORS_FILE,
    RknnJob,
    build_memory_mib,
    compile_by_routes,
)
from edgec.formats.tool_files import scratch_in
from edgec.plan.model import Action
from edgec.plan.onnx_actions import EXPORT_ACTION
from edgec.plan.rknn_classifier import RknnClassifierPlan
from edgec.prove.classifier_pair.simulated import SimulatedClassifier, prove_simulated_classifier
from edgec.prove.classifier_pair.subject import classifier_demand, proof_memory_mib
from edgec.store.actions import Result, Workspace

_SAMPLES = ".samples"


def run_rknn_classifier_build(context: StepContext, action: Action, work: Workspace) -> Result:
    """Compiles the float32 graph and simulates it on the images of the proof."""
    artifact = next(a for a in _planned(context) if a.compile_action == action.name)
    with scratch_in(work.folder, _SAMPLES) as samples:
        made = compile_by_routes(
            context.environment(TOOLCHAIN),
            context.result(EXPORT_ACTION).path(MODEL_FILE),
            RknnJob(
                script=ARRAYS_SCRIPT,
                request={
                    "shapes": {INPUT: list(artifact.classifier.shape)},
                    "by_channel": False,
                    **_samples(artifact, samples),
                },
                inputs={INPUT: artifact.classifier.shape},
                outputs=((1, len(artifact.classifier.labels)),),
                results="outputs",
                input_type="float16",
                otherwise="onnx",
                judged_on="the calibration images",
            ),
            artifact.layout,
            work.folder,
            demand=classifier_demand(artifact.scheme, context.plan.loaded.recipe.prove),
            memory_mib=build_memory_mib(artifact.graph.float_bytes),
            report=context.report,
            logs=context.logs,
        )
    facts = compiled_facts(made, artifact.layout, action=action.name, report=context.report)
    return work.commit({artifact.layout.file: None, VECTORS_FILE: None}, facts)


def _samples(artifact: RknnClassifierPlan, folder: Path) -> dict[str, Any]:
    """The images as files: where there is a choice, ranges come from every other one and the rest judges."""
    calibration = sample_files(artifact.calibration, artifact.classifier, folder / "calibration")
    proven = sample_files(artifact.held_out, artifact.classifier, folder / "held-out")
    if len(artifact.layout.routes) > 1:
        return {"ranges": calibration[::2], "judged": calibration[1::2], "proven": proven}
    return {"ranges": calibration, "judged": [], "proven": proven}


def run_rknn_classifier_prove(context: StepContext, action: Action, work: Workspace) -> Result:
    """Proves an artifact against the source. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in _planned(context) if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    subject = SimulatedClassifier(
        **classifier_fields(context, artifact, compiled),
        logits=compiled.path(VECTORS_FILE),
        toolkit=str(compiled.facts["toolkit"]),
    )
    with context.weights_unchanged():
        proof = prove_simulated_classifier(
            subject,
            context.environment(EXPORTER),
            work.folder,
            context.report,
            memory_mib=proof_memory_mib(artifact.graph.float_bytes, artifact.classifier),
        )
    return commit_proof(work, proof)


def _planned(context: StepContext) -> list[RknnClassifierPlan]:
    return [a for a in context.plan.artifacts if isinstance(a, RknnClassifierPlan)]
