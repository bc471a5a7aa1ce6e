"""The steps that make and prove a GGUF. Each fills a workspace and commits it; a failed proof commits nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edgec.build.context import StepContext
from edgec.build.proofs import commit_proof
from edgec.formats.gguf.compile import compile_together
from edgec.formats.gguf.imatrix_compute import compute_imatrix
from edgec.formats.gguf.imatrix_file import Imatrix, read_imatrix
from edgec.formats.gguf.sink import CompiledGguf, GgufJob
from edgec.plan.gguf import GgufPlan
from edgec.plan.model import Action
from edgec.prove.gguf import prove_gguf
from edgec.prove.model import TensorError
from edgec.prove.subject import Subject
from edgec.source.place import placed_in
from edgec.source.unchanged import file_changed
from edgec.store.actions import Result, Workspace

IMATRIX_FILE = "imatrix.gguf"


def run_compiles(context: StepContext, works: Sequence[tuple[Action, Workspace]]) -> dict[str, Result]:
    """Writes GGUFs, quantized or in the source's precision, with one read of the source; their results by action."""
    checkpoint = context.checkpoint()
    jobs = [_job(context, action, work) for action, work in works]
    with context.weights_unchanged(), placed_in(str(checkpoint.root)):
        compiled = compile_together(checkpoint, jobs, report=context.report)
    return {action.name: _commit(work, done) for (action, work), done in zip(works, compiled, strict=True)}


def _job(context: StepContext, action: Action, work: Workspace) -> GgufJob:
    if action.kind == "reference":
        artifact = next(a for a in context.plan.ggufs if a.reference_action == action.name)
        return GgufJob(artifact.reference, work.folder, None, action.name)
    artifact = next(a for a in context.plan.ggufs if a.compile_action == action.name)
    return GgufJob(artifact.layout, work.folder, _imatrix(context, action, artifact), action.name)


def _commit(work: Workspace, compiled: CompiledGguf) -> Result:
    files: dict[str, str | None] = {f.name: f.sha256 for f in compiled.files}
    return work.commit(
        files, {"tensors": [asdict(t) for t in compiled.tensors], "files": [f.name for f in compiled.files]}
    )


def _imatrix(context: StepContext, action: Action, artifact: GgufPlan) -> Imatrix | None:
    settings = artifact.settings.quantize.imatrix
    if settings is None:
        return None
    if settings.file is not None:
        path = context.plan.loaded.resolve(settings.file)
        imatrix = read_imatrix(path)
        if imatrix.digest != action.inputs["imatrix_file"]:
            raise file_changed(path)
        return imatrix
    made_by = next(n for n in action.needs if n.startswith("imatrix-"))
    return read_imatrix(context.result(made_by).path(IMATRIX_FILE))


def run_imatrix(context: StepContext, action: Action, work: Workspace) -> Result:
    """Computes the importance matrix on the unquantized model."""
    text = context.text(_calibration(context, action), "calibration text", action.inputs["calibration"])
    reference = context.result(action.needs[0])
    compute_imatrix(
        first_file(reference),
        text,
        max_tokens=action.settings["max_tokens"],
        out=work.folder / IMATRIX_FILE,
        report=context.report,
        action=action.name,
        logs=context.logs,
    )
    return work.commit({IMATRIX_FILE: None}, {})


def _calibration(context: StepContext, action: Action) -> str:
    """The calibration text of the artifact that needs this importance matrix."""
    for artifact in context.plan.ggufs:
        imatrix = artifact.settings.quantize.imatrix
        if action.name in context.plan.action(artifact.compile_action).needs and imatrix is not None:
            return imatrix.calibration or ""
    raise ValueError(f"no artifact needs {action.name}")


def run_prove(context: StepContext, action: Action, work: Workspace) -> Result:
    """Proves a compiled GGUF against the unquantized model. Raises ProofError (and stores nothing) on a miss."""
    artifact = next(a for a in context.plan.ggufs if a.prove_action == action.name)
    compiled = context.result(artifact.compile_action)
    reference = context.result(artifact.reference_action)
    recipe = context.plan.loaded.recipe
    subject = Subject(
        name=artifact.name,
        artifact=first_file(compiled),
        reference=first_file(reference),
        tokenizer_files=context.plan.source.header.files,
        held_out_text=context.held_out_text(action),
        scheme=artifact.scheme,
        settings=recipe.prove,
        vocabulary=artifact.vocabulary,
        tensors=_errors(compiled),
        logs=context.logs,
    )
    proof = prove_gguf(artifact.mapped.kind, subject, context.report, action.name)
    return commit_proof(work, proof)


def _errors(compiled: Result) -> tuple[TensorError, ...]:
    return tuple(
        TensorError(
            name=t["name"], type=t["type"], elements=t["elements"], bytes=t["nbytes"], relative_rmse=t["relative_rmse"]
        )
        for t in compiled.facts["tensors"]
    )


def first_file(result: Result) -> Path:
    """The file to load: the only one, or the first shard."""
    return result.path(result.facts["files"][0])
