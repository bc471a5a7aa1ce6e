"""A finished build, and how it is found again without planning: by the fingerprint of everything it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgec.bundle.content import BundleContent
from edgec.plan.model import Speed
from edgec.plan.origin import Signer
from edgec.prove.model import NotVerified, Proof
from edgec.store.standing import StandingFolders

if TYPE_CHECKING:
    # At run time a build with nothing to do needs no plan.
    from edgec.plan.plan import Plan


@dataclass(frozen=True)
class BuiltArtifact:
    """One artifact of a finished build: its proof, and what was predicted of it."""

    name: str
    scheme: str
    proof: Proof
    speeds: tuple[Speed, ...]


@dataclass(frozen=True)
class Built:
    """A finished build. `digest` is the bundle's OCI manifest digest; `cached`: the bundle stood there already.

    `finishes_on_device`: it holds an artifact from which the device builds an engine; `state_home`: the XDG_STATE_HOME
    with which the engine comes to where the bundle's server looks for it, None where nothing in the bundle looks.
    `engines`: those that this very machine built, being such a device.
    """

    path: Path
    report: Path
    archive: Path | None
    digest: str
    size_bytes: int
    target_title: str
    signer: Signer
    artifacts: tuple[BuiltArtifact, ...]
    # What the bundle carries for servers, one line each; and all that nobody verified.
    carried: tuple[str, ...]
    not_verified: tuple[NotVerified, ...]
    cached: bool
    wall_s: float
    finishes_on_device: bool = False
    state_home: str | None = None
    engines: tuple[Path, ...] = ()

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """The proofs of all artifacts."""
        return tuple(a.proof for a in self.artifacts)


def report_path(destination: Path) -> Path:
    """Where a person finds the report of the bundle at `destination`: beside it."""
    return destination.with_name(destination.name + ".report.html")


def facts_of(
    plan: Plan, content: BundleContent, proofs: tuple[Proof, ...], digest: str, size_bytes: int
) -> dict[str, Any]:
    """What has to be remembered of a build to show it again, as JSON."""
    return {
        "digest": digest,
        "size_bytes": size_bytes,
        "target_title": plan.target.title,
        "signer": asdict(plan.signer),
        "carried": [emitted.title for emitted in plan.deployment.values()],
        "not_verified": list(content.not_verified),
        "finishes_on_device": bool(plan.engines),
        "state_home": plan.deployment["triton"].facts.get("state_home") if "triton" in plan.deployment else None,
        "artifacts": [
            {
                "name": a.name,
                "scheme": a.scheme,
                "proof": p.model_dump(mode="json"),
                "speeds": [asdict(s) for s in a.summary.speeds],
            }
            for a, p in zip(plan.artifacts, proofs, strict=True)
        ],
    }


def built_from(
    facts: Mapping[str, Any], destination: Path, archive: Path | None, *, cached: bool, wall_s: float
) -> Built:
    """The build that `facts` remember."""
    artifacts = tuple(
        # What an earlier edgec remembered has no scheme.
        BuiltArtifact(
            a["name"],
            a.get("scheme", ""),
            Proof.model_validate(a["proof"]),
            tuple(Speed(**s) for s in a["speeds"]),
        )
        for a in facts["artifacts"]
    )
    return Built(
        path=destination,
        report=report_path(destination),
        archive=archive,
        digest=facts["digest"],
        size_bytes=facts["size_bytes"],
        target_title=facts["target_title"],
        signer=Signer(**facts["signer"]),
        artifacts=artifacts,
        carried=tuple(facts["carried"]),
        not_verified=tuple(NotVerified.model_validate(n) for n in facts["not_verified"]),
        cached=cached,
        wall_s=wall_s,
        finishes_on_device=facts["finishes_on_device"],
        # What an earlier edgec remembered has none.
        state_home=facts.get("state_home"),
    )


def beside(destination: Path, archive: Path | None) -> tuple[Path, ...]:
    """The bundle and the files beside it that belong to the build."""
    return (destination, report_path(destination), *([] if archive is None else [archive]))


def standing_facts(
    standing: StandingFolders, destination: Path, archive: Path | None, fingerprint: str
) -> Mapping[str, Any] | None:
    """What is remembered of the build of `fingerprint`, if all that it wrote stands there unchanged; else None."""
    found = [standing.facts(path, fingerprint) for path in beside(destination, archive)]
    return None if any(facts is None for facts in found) else found[0]
