"""The step that runs a proven artifact on an emulated processor. A failed comparison commits nothing."""

from __future__ import annotations

from edgec.build.context import StepContext
from edgec.build.proofs import commit_proof, load_proof
from edgec.events import Note
from edgec.plan.emulation import emulate_action
from edgec.plan.model import Action
from edgec.prove.emulated.checks import emulation_checks, emulation_limits
from edgec.prove.emulated.run import emulate, prepare
from edgec.prove.emulated.subject import Bench, EmulatedSubject, drawn_inputs
from edgec.prove.model import Proof
from edgec.store.actions import Result, Workspace


def prepare_emulation(context: StepContext) -> None:
    """Finds qemu and makes the emulated root, where a step to come needs them. Raises ToolError."""
    if any(action.kind == "emulate" for action in context.plan.to_run):
        prepare(_bench(context))


def _bench(context: StepContext) -> Bench:
    return Bench(
        toolchains=context.toolchains,
        results=context.toolchains.parent / "emulation",
        logs=context.logs,
        offline=context.plan.source.offline,
        report=context.report,
    )


def run_emulate(context: StepContext, action: Action, work: Workspace) -> Result:
    """The artifact's proof with what its emulation found. Raises ProofError, storing nothing, on a miss."""
    artifact = next(a for a in context.plan.artifacts if emulate_action(a) == action.name)
    compiled = context.result(artifact.compile_action)
    subject = EmulatedSubject(
        name=artifact.name,
        format=artifact.format,
        kind=artifact.facts.kind,
        files=tuple(compiled.path(name) for name in compiled.facts["files"]),
        cpu=action.settings["cpu"],
        features=tuple(action.settings["features"]),
        tokenizer=context.plan.source.header.files.get("tokenizer.json"),
        config=context.plan.source.header.files.get("config.json"),
        inputs=drawn_inputs(compiled.facts.get("interface", {}), artifact.told.get("image")),
        context=artifact.summary.context,
    )
    emulation = emulate(subject, _bench(context))
    for gap in emulation.gaps:
        context.report(Note(f"{action.name}: {gap.why}", "warning"))
    limits = emulation_limits(emulation)
    before = load_proof(context.result(artifact.prove_action))
    told = {limit.what for limit in limits}
    proof = Proof(
        **{
            **dict(before),
            "checks": (*before.checks, *emulation_checks(emulation)),
            "not_verified": (*(n for n in before.not_verified if n.what not in told), *limits),
        }
    )
    return commit_proof(work, proof)
