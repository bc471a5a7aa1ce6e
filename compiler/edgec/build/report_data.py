"""A plan and its proofs as the report page takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from edgec.plan.artifact import PlannedArtifact
from edgec.plan.keys import made_with
from edgec.plan.plan import Plan
from edgec.prove.model import Proof
from edgec.prove.report import (
    ReportArtifact,
    ReportData,
    ReportDisk,
    ReportFile,
    ReportMemory,
    ReportMemoryItem,
    ReportSource,
    ReportSpeed,
)


def report_data(plan: Plan, proofs: tuple[Proof, ...], built_bytes: Mapping[str, int]) -> ReportData:
    """What the report of this build shows. `built_bytes`: of each artifact's files, by its name."""
    recipe = plan.loaded.recipe
    identity = plan.source.header.identity
    disk = plan.disk
    return ReportData(
        name=recipe.name,
        version=recipe.version,
        target=plan.target.name,
        target_title=plan.target.title,
        artifacts=tuple(_artifact(plan, a, p, built_bytes[a.name]) for a, p in _proven(plan, proofs)),
        source=ReportSource(
            uri=identity.uri,
            revision=identity.revision,
            licence=identity.licence,
            files=tuple(ReportFile(f.name, f.size_bytes, f.digest) for f in identity.files),
        ),
        tools=tuple(sorted(made_with(plan.actions).items())),
        description=recipe.description,
        key_fingerprint=plan.signer.fingerprint,
        development_key=plan.signer.is_development,
        disk=ReportDisk(disk.bundle_mib, disk.copies, disk.needed_mib, disk.free_mib),
        carried=tuple(emitted.title for emitted in plan.deployment.values()),
        not_verified=tuple(n for emitted in plan.deployment.values() for n in emitted.not_verified),
    )


def _proven(plan: Plan, proofs: tuple[Proof, ...]) -> list[tuple[PlannedArtifact, Proof]]:
    """The artifacts that have a proof: all of them, but for the report of a failed one."""
    by_name = {p.artifact: p for p in proofs}
    return [(a, by_name[a.name]) for a in plan.artifacts if a.name in by_name]


def _artifact(plan: Plan, artifact: PlannedArtifact, proof: Proof, built_bytes: int) -> ReportArtifact:
    summary = artifact.summary
    fit = summary.fit
    return ReportArtifact(
        name=artifact.name,
        format=summary.format,
        scheme=summary.scheme,
        files=summary.files,
        output_bytes=built_bytes,
        # A bound of what a tool of others may write is not what it wrote.
        bytes_by_type=summary.bytes_by_type if summary.is_exact else {},
        bound_bytes=None if summary.is_exact else summary.output_bytes,
        proof=proof,
        is_for_engine=artifact in plan.engines,
        memory=ReportMemory(
            verdict=fit.verdict,
            items=tuple(ReportMemoryItem(**asdict(i)) for i in fit.items),
            needed_mib=fit.needed_mib,
            available_mib=fit.available_mib,
            total_mib=fit.total_mib,
            os_reserve_mib=fit.os_reserve_mib,
            context=summary.context,
            batch=plan.loaded.recipe.batch,
            advice=fit.advice,
        ),
        speeds=tuple(ReportSpeed(**asdict(s)) for s in summary.speeds),
        source_bytes=artifact.source_bytes,
        notes=summary.notes,
    )
