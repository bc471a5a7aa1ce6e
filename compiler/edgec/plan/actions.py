"""Recipe, target and checkpoint header turned into actions: what runs, why, at what cost, and what is cached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from edgec import __version__
from edgec.deploy.dify.wheels import lock_digest, wheel_bytes
from edgec.deploy.model import Emitted
from edgec.deploy.web.runtime import WebRuntime, locked_runtimes
from edgec.documents.canonical import sha256_bytes
from edgec.plan.emulation import add_emulation, last_proof
from edgec.plan.graph import ActionGraph, Draft
from edgec.plan.keys import source_key
from edgec.plan.kinds import add_artifact
from edgec.plan.model import Action, Cost
from edgec.plan.origin import Signer
from edgec.plan.plan import Planned
from edgec.source.hub import bytes_to_download
from edgec.target.model import Target


@dataclass(frozen=True)
class Packaging:
    """What the bundle is made of besides its artifacts."""

    target: Target
    signer: Signer
    dify_signer: Signer | None
    deployment: Mapping[str, Emitted]
    with_wheels: bool

    def bundle_bytes(self, artifacts: Sequence[Planned]) -> int:
        """Bytes of what is large in the bundle: the artifacts, and what it carries for its servers."""
        carried = sum(len(data) for emitted in self.deployment.values() for data in emitted.files.values())
        wheels = wheel_bytes() if self.with_wheels else 0
        runtimes = sum(r.site_bytes for r in self.site_runtimes(artifacts))
        return sum(a.summary.output_bytes for a in artifacts) + carried + wheels + runtimes

    def site_runtimes(self, artifacts: Sequence[Planned]) -> tuple[WebRuntime, ...]:
        """What the web site of the first artifact runs on; nothing without a site."""
        return locked_runtimes(artifacts[0].format) if "web" in self.deployment else ()


def plan_actions(graph: ActionGraph, artifacts: Sequence[Planned], packaging: Packaging) -> tuple[Action, ...]:
    """All actions, in an order that respects their needs."""
    _fetch(graph)
    proofs = {a.name: add_emulation(graph, a, packaging.target, add_artifact(graph, a)) for a in artifacts}
    runtimes = packaging.site_runtimes(artifacts)
    fetched = {**(_wheels(graph) if packaging.with_wheels else {}), **(_runtime(graph, runtimes) if runtimes else {})}
    _bundle(graph, artifacts, packaging, proofs, fetched)
    return graph.actions


def _fetch(graph: ActionGraph) -> None:
    hub = graph.source.hub
    if hub is None:
        return
    reason = f"the recipe names {hub.repo} at {hub.revision[:12]}"
    cost = Cost(download_bytes=bytes_to_download(hub, graph.source.header))
    graph.add(Draft("fetch", "fetch", {}, {"source": graph.model}, reason, cost=cost))


def _wheels(graph: ActionGraph) -> dict[str, str]:
    """The Dify package's Python packages, as an input of the bundle."""
    reason = "the recipe wants the Dify package to install without internet"
    cost = Cost(download_bytes=wheel_bytes())
    return {"wheels": graph.add(Draft("wheels", "wheels", {}, {"lock": lock_digest()}, reason, cost=cost))}


def _runtime(graph: ActionGraph, runtimes: Sequence[WebRuntime]) -> dict[str, str]:
    """What runs the model in a browser, as an input of the bundle."""
    reason = f"the web site runs the model on {' and '.join(r.spec for r in runtimes)}"
    cost = Cost(output_bytes=sum(r.site_bytes for r in runtimes), download_bytes=sum(r.size_bytes for r in runtimes))
    settings = {"files": {r.stored_name(f): f.digest for r in runtimes for f in r.files}}
    inputs = {r.package: r.digest for r in runtimes}
    return {"runtime": graph.add(Draft("runtime", "runtime", settings, inputs, reason, cost=cost))}


def _bundle(
    graph: ActionGraph,
    artifacts: Sequence[Planned],
    packaging: Packaging,
    proofs: Mapping[str, str],
    fetched: Mapping[str, str],
) -> None:
    signer, dify_signer = packaging.signer, packaging.dify_signer
    settings = {
        "edgec": __version__,
        "recipe": graph.loaded.document,
        "target": packaging.target.model_dump(mode="json", by_alias=True),
        "key": signer.fingerprint,
        "dify_key": None if dify_signer is None else dify_signer.fingerprint,
        "summaries": {a.name: asdict(a.summary) for a in artifacts},
        "deployment": {
            path: sha256_bytes(data) for e in packaging.deployment.values() for path, data in e.files.items()
        },
    }
    graph.add(
        Draft(
            kind="bundle",
            name="bundle",
            settings=settings,
            inputs={"source": source_key(graph.source.header.identity), **proofs, **fetched},
            needs=(*(n for a in artifacts for n in (a.compile_action, last_proof(a, graph.actions))), *fetched),
            reason=f"sign with the key {signer.fingerprint[:19]}",
            cost=Cost(output_bytes=packaging.bundle_bytes(artifacts)),
        )
    )
