"""Proofs as steps store and refuse them: a miss is an error that carries the proof, so that its report can be shown."""

from __future__ import annotations

from edgec.documents.canonical import canonical_json
from edgec.errors import Diagnostic, ProofError
from edgec.prove.model import Check, Proof
from edgec.store.actions import Result, Workspace
from edgec.store.atomic import write_file

PROOF_FILE = "proof.json"
# What the device compares its engine's answers with.
REFERENCE_FILE = "reference.json"


class QualityError(ProofError):
    """A proof that missed; carries it for the report."""

    def __init__(self, proof: Proof, *diagnostics: Diagnostic) -> None:
        super().__init__(*diagnostics)
        self.proof = proof


def refuse_failed(proof: Proof) -> None:
    """Raises QualityError naming every check that missed its threshold."""
    missed = [
        Diagnostic(
            message=_missed(check),
            hint=check.hint,
            place=proof.artifact,
        )
        for check in proof.checks
        if not check.passed
    ]
    if missed:
        raise QualityError(proof, *missed)


def commit_proof(work: Workspace, proof: Proof, *others: str) -> Result:
    """The result of a step that proves. `others`: files that it made beside the proof. Raises QualityError."""
    refuse_failed(proof)
    write_file(work.folder / PROOF_FILE, canonical_json(proof.model_dump(mode="json")))
    return work.commit(dict.fromkeys((PROOF_FILE, *others)), {})


def _missed(check: Check) -> str:
    unit = f" {check.unit}" if check.unit else ""
    detail = f": {check.detail}" if check.detail else ""
    return f"{check.name} is {check.measured:.5g}{unit}, must be {check.relation} {check.threshold:.5g}{detail}"


def load_proof(result: Result) -> Proof:
    """The proof a `prove` action stored."""
    return Proof.model_validate_json(result.path(PROOF_FILE).read_bytes())
