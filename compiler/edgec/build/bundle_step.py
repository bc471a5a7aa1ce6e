"""The last step: the report, then the signed bundle in its place, unless that very bundle stands there already."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from edgec.build.built import Built, beside, built_from, facts_of, report_path, standing_facts
from edgec.build.engine_steps import finalize_files
from edgec.build.proofs import QualityError, load_proof
from edgec.build.report_data import report_data
from edgec.build.run import Runner
from edgec.build.runtime_step import runtime_files
from edgec.build.signers import BuildKeys
from edgec.build.wheels_step import wheel_contents
from edgec.bundle.content import BundleArtifact, BundleContent, BundleFile, MediaKind
from edgec.bundle.write import FileChangedError, write_bundle
from edgec.deploy.dify.emit import seal
from edgec.deploy.model import Emitted
from edgec.deploy.web.emit import seal as seal_site
from edgec.documents.canonical import sha256_bytes
from edgec.errors import Diagnostic
from edgec.events import ActionFinished, ActionStarted, Note
from edgec.formats.onnx.pooling import normalizes
from edgec.plan.artifact import PlannedArtifact
from edgec.plan.emulation import last_proof
from edgec.plan.keys import builder_platform, made_with
from edgec.plan.plan import Plan
from edgec.prove.model import Proof
from edgec.prove.report import render_report
from edgec.source.onnx_graph import DOUBLE, FLOAT16
from edgec.store.actions import Result
from edgec.store.atomic import write_file
from edgec.store.locks import exclusive
from edgec.store.standing import StandingFolders

# Small source files a device or a person needs beside the weights, and the kind of layer each becomes.
_CARRIED: Mapping[str, MediaKind] = {
    "config.json": "weight.config",
    "modules.json": "weight.config",
    "1_Pooling/config.json": "weight.config",
    "preprocessor_config.json": "weight.config",
    "generation_config.json": "weight.config",
    "tokenizer.json": "weight.config",
    "tokenizer_config.json": "weight.config",
    "special_tokens_map.json": "weight.config",
    "chat_template.jinja": "weight.config",
    "README.md": "doc",
    "LICENSE": "doc",
}
REPORT_FILE = "report.html"


def run_bundle(
    runner: Runner,
    standing: StandingFolders,
    *,
    keys: BuildKeys,
    destination: Path,
    archive: Path | None,
    fingerprint: str,
) -> Built:
    """Makes sure that the plan's bundle stands at `destination`, proven and signed; remembers it by its fingerprint."""
    started = time.monotonic()
    plan = runner.plan
    action = plan.action("bundle")
    with exclusive(standing.root / f"{plan.bundle_name}.lock"):
        # Another build may have made it while this one waited.
        facts = standing_facts(standing, destination, archive, fingerprint)
        cached = facts is not None
        packaging = time.monotonic()
        if facts is None:
            for name in _fetched(plan):
                # Before hours of quantizing: there may be no network.
                runner.result(name)
            proofs = _proofs(runner, destination)
            packaging = time.monotonic()
            runner.report(ActionStarted(action.name, action.kind, action.reason))
            try:
                facts = _write(runner, proofs, keys, destination, archive)
            except FileChangedError as changed:
                # Once: a disk that spoils the same file again is a matter for a person.
                if not runner.discard(changed.file):
                    raise
                facts = _write(runner, _proofs(runner, destination), keys, destination, archive)
            for path in beside(destination, archive):
                standing.remember(path, fingerprint, facts)
    now = time.monotonic()
    runner.report(ActionFinished(action.name, action.kind, cached=cached, wall_s=now - packaging))
    return built_from(facts, destination, archive, cached=cached, wall_s=now - started)


def _proofs(runner: Runner, destination: Path) -> tuple[Proof, ...]:
    """The proofs of all artifacts. A missed one leaves its report beside where the bundle would be."""
    page = destination.with_name(destination.name + ".failed.report.html")
    try:
        proofs = tuple(load_proof(runner.result(last_proof(a, runner.plan.actions))) for a in runner.plan.artifacts)
    except QualityError as missed:
        write_file(
            page, render_report(report_data(runner.plan, (missed.proof,), _sizes(runner, (missed.proof,)))).encode()
        )
        raise QualityError(
            missed.proof, *missed.diagnostics, Diagnostic(message="no bundle was written", hint=f"open {page}")
        ) from missed
    page.unlink(missing_ok=True)
    return proofs


def _write(
    runner: Runner, proofs: tuple[Proof, ...], keys: BuildKeys, destination: Path, archive: Path | None
) -> Mapping[str, Any]:
    plan = runner.plan
    page = render_report(report_data(plan, proofs, _sizes(runner, proofs))).encode()
    folder = runner.store.root / "packaging" / plan.bundle_name
    files = [_small(folder, name, plan.source.header.files[name], kind) for name, kind in _carried(plan)]
    files.append(_small(folder, REPORT_FILE, page, "doc"))
    deployment = _sealed(runner, keys)
    if plan.dify_signer is not None and plan.dify_signer.is_development:
        runner.report(Note("the Dify package is signed with a development key; make one with `edgec dify keygen`"))
    for emitted in deployment.values():
        files += [_small(folder, name, data, "code") for name, data in sorted(emitted.files.items())]
    if "runtime" in _fetched(plan):
        files += runtime_files(runner.result("runtime"))
    artifacts = []
    for artifact, proof in zip(plan.artifacts, proofs, strict=True):
        weights = _weights(artifact, runner.result(artifact.compile_action))
        files += weights
        names = tuple(w.path_in_bundle for w in weights)
        artifacts.append(BundleArtifact(artifact.name, artifact.format, artifact.scheme, names, proof.route))
    for engine in plan.engines:
        told = finalize_files(engine, runner.result(engine.prove_action))
        files += [_small(folder, name, data, "code") for name, data in sorted(told.items())]
    content = _content(plan, tuple(files), tuple(artifacts), proofs, deployment, interfaces=_interfaces(runner))
    info = write_bundle(content, destination, key=keys.bundle, report=runner.report, archive=archive)
    write_file(report_path(destination), page)
    return facts_of(plan, content, proofs, info.digest, info.size_bytes)


def _sealed(runner: Runner, keys: BuildKeys) -> dict[str, Emitted]:
    """What the emitters made, the Dify package with its wheels and signed, the web site with its model's size."""
    deployment = dict(runner.plan.deployment)
    if "web" in deployment:
        first = runner.plan.artifacts[0]
        weights = _weights(first, runner.result(first.compile_action))
        deployment["web"] = seal_site(deployment["web"], sum(file.size_bytes for file in weights))
    if "dify" in deployment and keys.dify is not None and keys.dify_signer is not None:
        wheels = wheel_contents(runner.result("wheels")) if "wheels" in _fetched(runner.plan) else {}
        deployment["dify"] = seal(
            deployment["dify"], keys.dify, is_development=keys.dify_signer.is_development, wheels=wheels
        )
    return deployment


def _fetched(plan: Plan) -> list[str]:
    """The actions that bring what is locked and others made."""
    return [action.name for action in plan.actions if action.kind in ("wheels", "runtime")]


def _carried(plan: Plan) -> list[tuple[str, MediaKind]]:
    return [(name, kind) for name, kind in sorted(_CARRIED.items()) if name in plan.source.header.files]


def _small(folder: Path, name: str, data: bytes, kind: MediaKind) -> BundleFile:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data)
    return BundleFile(name, path, kind, sha256_bytes(data), len(data))


def _weights(artifact: PlannedArtifact, compiled: Result) -> list[BundleFile]:
    by_name = {f.name: f for f in compiled.files}
    # What a runtime loads by its folder has one of its own.
    folder = "/".join(part for part in (artifact.format, compiled.facts.get("folder")) if part)
    return [
        BundleFile(f"{folder}/{name}", compiled.path(name), "weight", f.digest, f.size_bytes)
        for name in compiled.facts["files"]
        if (f := by_name[name])
    ]


def _sizes(runner: Runner, proofs: tuple[Proof, ...]) -> dict[str, int]:
    """Bytes of the files of each artifact that has a proof, as they were made."""
    proven = {p.artifact for p in proofs}
    made = {a.name: runner.result(a.compile_action) for a in runner.plan.artifacts if a.name in proven}
    return {n: sum(f.size_bytes for f in r.files if f.name in r.facts["files"]) for n, r in made.items()}


def _interfaces(runner: Runner) -> dict[str, Any]:
    """Types and shapes of inputs and outputs, of artifacts whose files alone do not tell a program."""
    compiled = {a.name: runner.result(a.compile_action).facts for a in runner.plan.artifacts}
    return {name: facts["interface"] for name, facts in compiled.items() if "interface" in facts}


def _content(
    plan: Plan,
    files: tuple[BundleFile, ...],
    artifacts: tuple[BundleArtifact, ...],
    proofs: tuple[Proof, ...],
    deployment: Mapping[str, Emitted],
    *,
    interfaces: Mapping[str, Any],
) -> BundleContent:
    recipe = plan.loaded.recipe
    claims = [p.not_verified for p in proofs] + [e.not_verified for e in deployment.values()]
    not_verified = {n.what: n.model_dump(mode="json") for n in chain.from_iterable(claims)}
    return BundleContent(
        name=recipe.name,
        version=recipe.version,
        target=plan.target.model_dump(mode="json", by_alias=True),
        recipe=plan.loaded.document,
        source=plan.source.header.identity,
        files=files,
        platform=builder_platform(),
        description=recipe.description,
        licence=plan.source.header.identity.licence,
        model=_model_facts(plan) | ({"interfaces": dict(interfaces)} if interfaces else {}),
        artifacts=artifacts,
        deployment={name: emitted.facts for name, emitted in deployment.items()},
        proofs=tuple(p.model_dump(mode="json") for p in proofs),
        not_verified=tuple(not_verified[k] for k in sorted(not_verified)),
        tools=made_with(plan.actions),
        inputs=_texts(plan),
        development_key=plan.signer.is_development,
    )


def _texts(plan: Plan) -> dict[str, str]:
    """Digests of the texts that shaped or judged the artifacts."""
    return {
        f"{action.name}: {what}": action.inputs[what]
        for action in plan.actions
        for what in ("calibration", "held_out", "imatrix_file")
        if what in action.inputs
    }


def _model_facts(plan: Plan) -> dict[str, object]:
    first = plan.artifacts[0]
    if plan.source.header.graph is not None:
        return _graph_facts(plan)
    return {
        "architecture": first.facts.architecture,
        "kind": first.facts.kind,
        "format": first.format,
        "parameters": plan.source.header.parameters,
        "precision": sorted({str(t.dtype) for t in plan.source.header.tensors.values()})[0].lower(),
        "quantization": first.scheme,
        "context": first.summary.context,
        "trained_context": first.facts.trained_context,
        "embedding_length": first.facts.embedding_length,
        "vocabulary": first.facts.vocabulary,
        **_pooled(plan),
        **first.told,
    }


def _pooled(plan: Plan) -> dict[str, object]:
    """How a program makes one vector of a text; null where the source does not say whether its length is 1."""
    facts = plan.artifacts[0].facts
    if facts.kind != "encoder":
        return {}
    return {"pooling": facts.pooling, "normalize": normalizes(plan.source.header.files)}


def _graph_facts(plan: Plan) -> dict[str, object]:
    """What a manifest says of a user's own graph, which has no context and no vocabulary."""
    first = plan.graphs[0]
    return {
        "architecture": first.facts.architecture,
        "kind": first.facts.kind,
        "format": first.format,
        "parameters": plan.source.header.parameters,
        "precision": {FLOAT16: "f16", DOUBLE: "f64"}.get(first.graph.elem_type, "f32"),
        "quantization": first.scheme,
    }
