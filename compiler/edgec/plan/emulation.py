"""The action that runs a proven artifact on an emulated processor of its target.

Rule: an artifact's last proof is that of its emulation, where there is one; the proof before it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgec.documents.canonical import sha256_json
from edgec.plan.artifact import PlannedArtifact
from edgec.plan.graph import ActionGraph, Draft
from edgec.plan.model import Action, Cost
from edgec.prove.emulated.checks import LIMITS
from edgec.prove.emulated.run import MAX_TOKENS, SAMPLES, SINGLE_TOKENS, TEXTS, emulation_memory_mib
from edgec.prove.emulated.subject import FORMATS, TOOLCHAIN
from edgec.target.model import Target


def emulate_action(artifact: PlannedArtifact) -> str:
    """The name of the action."""
    return f"emulate {artifact.name}"


def last_proof(artifact: PlannedArtifact, actions: Iterable[Action]) -> str:
    """The action whose result is the artifact's whole proof."""
    name = emulate_action(artifact)
    return name if any(action.name == name for action in actions) else artifact.prove_action


def add_emulation(graph: ActionGraph, artifact: PlannedArtifact, target: Target, proof: str) -> str:
    """Adds the emulation of a proven artifact, where the recipe asks for it; returns the key of its last proof."""
    if not graph.loaded.recipe.prove.emulate or artifact.format not in FORMATS or target.isa.qemu_cpu is None:
        return proof
    settings = {
        "cpu": target.isa.qemu_cpu,
        "features": list(target.isa.features),
        "prompts": sha256_json([*TEXTS, MAX_TOKENS, SINGLE_TOKENS, SAMPLES]),
        "limits": dict(LIMITS),
    }
    return graph.add(
        Draft(
            kind="emulate",
            name=emulate_action(artifact),
            settings=settings,
            inputs={"proof": proof},
            needs=(artifact.compile_action, artifact.prove_action),
            reason=f"run it on an emulated {target.isa.qemu_cpu}, and compare with this machine",
            cost=Cost(memory_mib=emulation_memory_mib(artifact.summary.output_bytes)),
            toolchains=(TOOLCHAIN,),
        )
    )
