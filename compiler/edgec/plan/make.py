"""Makes the plan: opens the source's header, plans each artifact, refuses what cannot work, lists the actions.

Rule: reads only. Nothing large is downloaded and nothing is written but remembered digests.
"""

from __future__ import annotations

from pathlib import Path

from edgec.errors import Diagnostic, InputError, Span, ToolError
from edgec.plan.actions import Packaging, plan_actions
from edgec.plan.deploy import plan_deployment
from edgec.plan.fit import disk_need
from edgec.plan.graph import ActionGraph
from edgec.plan.held_out import require_held_out
from edgec.plan.kinds import plan_artifact
from edgec.plan.origin import PlannedSource, Signer, bundle_name
from edgec.plan.plan import Plan, Planned
from edgec.recipe.load import LoadedRecipe
from edgec.source.place import placed_in
from edgec.store.actions import ActionStore
from edgec.store.atomic import existing_part, free_bytes, same_disk
from edgec.target.model import Target


def make_plan(
    loaded: LoadedRecipe,
    target: Target,
    source: PlannedSource,
    store: ActionStore,
    *,
    bundle_stands: bool,
    signer: Signer,
    dify_signer: Signer | None = None,
) -> Plan:
    """The plan of a checked recipe. Raises InputError when the model is not supported; see also `refuse_misfits`.

    `bundle_stands`: whether the bundle of exactly this build stands in its place already (see `build_fingerprint`).
    """
    artifacts = _artifacts(loaded, target, source)
    require_held_out(loaded, artifacts, source.header.files)
    deployment = plan_deployment(loaded, target, source.header, artifacts)
    dify = loaded.recipe.package.dify
    packaging = Packaging(target, signer, dify_signer, deployment, dify is not None and dify.with_wheels)
    graph = ActionGraph(loaded, source, store, bundle_stands)
    return Plan(
        loaded=loaded,
        target=target,
        source=source,
        artifacts=artifacts,
        actions=plan_actions(graph, artifacts, packaging),
        disk=disk_need(target, bundle_bytes=packaging.bundle_bytes(artifacts)),
        bundle_name=bundle_name(loaded, target),
        signer=signer,
        deployment=deployment,
        dify_signer=dify_signer,
    )


def _artifacts(loaded: LoadedRecipe, target: Target, source: PlannedSource) -> tuple[Planned, ...]:
    where = str(source.folder) if source.folder is not None else source.hub.repo if source.hub else ""
    with placed_in(where):
        return tuple(
            plan_artifact(loaded, target, source.header, index) for index in range(len(loaded.recipe.artifacts))
        )


def refuse_misfits(plan: Plan) -> None:
    """Raises InputError when an artifact cannot fit the target's memory, with the number to change."""
    found = [
        Diagnostic(
            message=f"{a.name} does not fit {plan.target.title}: it needs {a.summary.fit.needed_mib:.0f} MiB, "
            f"{a.summary.fit.available_mib:.0f} MiB are available",
            hint=a.summary.fit.advice,
            span=_place_to_change(plan.loaded, index, a.summary.fit.advice or ""),
        )
        for index, a in enumerate(plan.artifacts)
        if a.summary.fit.verdict == "no"
    ]
    if plan.disk.verdict == "no":
        found.append(
            Diagnostic(
                message=f"the device's disk is too small: {plan.disk.copies} bundles need "
                f"{plan.disk.needed_mib:.0f} MiB, {plan.disk.free_mib or 0:.0f} MiB are free",
                hint=plan.disk.advice,
                span=plan.loaded.span("target"),
            )
        )
    if found:
        raise InputError(*found)


def _place_to_change(loaded: LoadedRecipe, index: int, advice: str) -> Span | None:
    """The line that the advice is about, if it is written; else the artifact, else the target."""
    # In the order in which advice names them.
    places: tuple[tuple[str | int, ...], ...] = (("batch",), ("context",), ("artifacts", index, "quantize", "scheme"))
    named = [place for place in places if advice.startswith(f"set `{place[-1]}:")]
    found = (loaded.span(*place) for place in (*named, ("artifacts", index), ("target",)))
    return next((span for span in found if span is not None), None)


def refuse_full_disk(plan: Plan, cache: Path, output: Path, *, archive: bool = False) -> None:
    """Raises ToolError when a disk of this machine cannot hold what the build writes to it.

    `archive`: the bundle is written a second time, as one file.
    """
    bundle_bytes = sum(a.cost.output_bytes for a in plan.to_run if a.kind == "bundle")
    archive_bytes = bundle_bytes if archive else 0
    if same_disk(cache, output):
        _refuse_full(cache, plan.bytes_to_write + archive_bytes, "or set EDGEC_CACHE and --output to a larger disk")
        return
    _refuse_full(cache, plan.bytes_to_write - bundle_bytes, "or set EDGEC_CACHE to a larger disk")
    _refuse_full(output, bundle_bytes + archive_bytes, "or choose a folder on a larger disk with --output")


def _refuse_full(folder: Path, needed_bytes: int, otherwise: str) -> None:
    free = free_bytes(folder)
    if needed_bytes > free:
        raise ToolError.of(
            f"this build writes {_size(needed_bytes)}, the disk has {_size(free)} free",
            place=str(existing_part(folder)),
            hint=f"free space, {otherwise}",
        )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.1f} MiB"
