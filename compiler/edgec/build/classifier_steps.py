"""The steps that make an ONNX file of an image classifier and prove it. A failed proof commits nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from edgec.build.attempts import kept_attempts
from edgec.build.context import StepContext
from edgec.build.proofs import commit_proof
from edgec.formats.images import ImageSet, load_set
from edgec.formats.onnx.classifier import INPUT, Classifier
from edgec.formats.onnx.classifier_layout import classifier_graph
from edgec.formats.onnx.classifier_run import export_classifier
from edgec.formats.onnx.graph_run import SAMPLES_FOLDER, quantize_graph, write_samples
from edgec.formats.onnx.layout import MODEL_FILE
from edgec.formats.onnx.run import TOOLCHAIN
from edgec.formats.tool_files import scratch_in
from edgec.plan.classifier import ClassifierPlan
from edgec.plan.model import Action
from edgec.plan.onnx_actions import EXPORT_ACTION
from edgec.plan.onnx_classifier import OnnxClassifierPlan
from edgec.prove.classifier_pair.pair import ClassifierPair, prove_classifier_pair
from edgec.prove.classifier_pair.subject import classifier_demand, proof_memory_mib
from edgec.prove.model import Attempt
from edgec.store.actions import Result, Workspace
from edgec.store.atomic import explained


def run_classifier_export(context: StepContext, _action: Action, work: Workspace) -> Result:
    """Exports the float32 graph, which counts when it agrees with torch."""
    artifact = next(a for a in context.plan.artifacts if isinstance(a, ClassifierPlan))
    environment = context.environment(TOOLCHAIN)
    with context.weights_unchanged():
        made = export_classifier(
            environment, context.checkpoint(), artifact.classifier, artifact.graph, work.folder,
            report=context.report, log=context.logs / "onnx-export.log",
        )  # fmt: skip
    facts = {"files": [MODEL_FILE], "max_difference": made.max_difference, "interface": dict(made.interface)}
    return work.commit({MODEL_FILE: None}, facts)


def run_classifier_quantize(context: StepContext, action: Action, work: Workspace) -> Result:
    """Makes the artifact of the float32 graph: by the only route of its scheme, or by the best of several."""
    artifact = next(a for a in _planned(context) if a.compile_action == action.name)
    exported, layout = context.result(EXPORT_ACTION), artifact.layout
    attempts: list[dict[str, Any]] = []
    if not layout.routes:
        with explained(work.folder):
            shutil.copyfile(exported.path(MODEL_FILE), work.folder / layout.file)
    else:
        with scratch_in(work.folder, SAMPLES_FOLDER) as samples:
            chosen, tried = quantize_graph(
                context.environment(TOOLCHAIN), exported.path(MODEL_FILE), classifier_graph(artifact.classifier),
                layout, work.folder,
                demand=classifier_demand(artifact.scheme, context.plan.loaded.recipe.prove),
                samples=sample_files(artifact.calibration, artifact.classifier, samples),
                report=context.report, log=context.logs / "onnx-quantize.log",
            )  # fmt: skip
        has_choice = len(layout.routes) > 1
        attempts = kept_attempts(action.name, tried, chosen, has_choice=has_choice, report=context.report)
    facts = {"files": [layout.file], "attempts": attempts, "interface": exported.facts["interface"]}
    return work.commit({layout.file: None}, facts)


def run_classifier_prove(context: StepContext, action: Action, work: Workspace) -> Result:
    """Proves an artifact against the source. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in _planned(context) if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    pair = ClassifierPair(**classifier_fields(context, artifact, compiled), model=compiled.path(artifact.layout.file))
    with context.weights_unchanged():
        proof = prove_classifier_pair(
            pair, context.environment(TOOLCHAIN), work.folder, context.report,
            memory_mib=proof_memory_mib(artifact.graph.float_bytes, artifact.classifier),
        )  # fmt: skip
    return commit_proof(work, proof)


def _planned(context: StepContext) -> list[OnnxClassifierPlan]:
    return [a for a in context.plan.artifacts if isinstance(a, OnnxClassifierPlan)]


def sample_files(images: ImageSet, classifier: Classifier, folder: Path) -> list[str]:
    """Each image as the classifier takes it, in an .npz file of its own. Raises InputError naming a broken one."""
    return list(write_samples(({INPUT: row[None]} for row in load_set(images, classifier.image)), folder))


def classifier_fields(context: StepContext, artifact: ClassifierPlan, compiled: Result) -> dict[str, Any]:
    """What every `ClassifierSubject` is made of."""
    return {
        "name": artifact.name,
        "source": context.checkpoint(),
        "classifier": artifact.classifier,
        "scheme": artifact.scheme,
        "settings": context.plan.loaded.recipe.prove,
        "held_out": artifact.held_out,
        "attempts": tuple(Attempt.model_validate(a) for a in compiled.facts["attempts"]),
        "logs": context.logs,
    }
