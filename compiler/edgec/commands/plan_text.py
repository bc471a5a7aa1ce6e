"""A plan as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edgec.commands.sizes import mib
from edgec.plan.model import Action, ArtifactPlan
from edgec.plan.plan import Plan


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan for `--json`."""
    return {
        "bundle": plan.bundle_name,
        "target": plan.target.name,
        "source": {"uri": plan.source.header.identity.uri, "revision": plan.source.header.identity.revision},
        "artifacts": [asdict(a.summary) for a in plan.artifacts],
        "actions": [{**asdict(a), "runs": a in plan.to_run} for a in plan.actions],
        "carries": [emitted.title for emitted in plan.deployment.values()],
        "not_verified": [n.model_dump(mode="json") for e in plan.deployment.values() for n in e.not_verified],
        "disk_bytes": plan.bytes_to_write,
        "device_disk": asdict(plan.disk),
    }


def as_text(plan: Plan) -> str:
    """The plan for people: what will run and why, whether it fits, how fast it will be."""
    lines = [f"{plan.bundle_name}: {plan.source.header.identity.uri} for {plan.target.title}", "", "actions"]
    lines += [f"  {_action(a, runs=a in plan.to_run)}" for a in plan.actions]
    lines.append(f"  this machine writes {mib(plan.bytes_to_write)}")
    disk = plan.disk
    lines.append(f"  the device stores {disk.copies} bundles, {disk.needed_mib:.1f} MiB ({disk.verdict})")
    if plan.deployment:
        lines += ["", "carries", *(f"  {emitted.title}" for emitted in plan.deployment.values())]
    for artifact in plan.artifacts:
        lines += ["", *_artifact(artifact.summary)]
    return "\n".join(lines)


def _action(action: Action, *, runs: bool) -> str:
    # An action can be neither: its result was cleaned away, and nothing needs it.
    state = "run   " if runs else "cached" if action.cached else "skip  "
    cost = action.cost
    size = f", {mib(cost.output_bytes)}" if cost.output_bytes else ""
    download = f", download {mib(cost.download_bytes)}" if cost.download_bytes else ""
    memory = f", {cost.memory_mib} MiB of memory" if action.toolchains or action.kind == "quantize" else ""
    tools = f", in the toolchain {', '.join(action.toolchains)}" if action.toolchains else ""
    return f"{state} {action.name}: {action.reason}{size}{download}{memory}{tools}"


def _three(value: float) -> str:
    """Three digits that count: a prediction has no more."""
    return f"{float(f'{value:.3g}'):g}"


def _artifact(summary: ArtifactPlan) -> list[str]:
    fit = summary.fit
    how = "exactly" if summary.is_exact else "at most"
    lines = [f"{summary.name}: {mib(summary.output_bytes)} {how} ({', '.join(summary.files)})"]
    lines.append("  tensors    " + ", ".join(f"{t} {mib(b)}" for t, b in summary.bytes_by_type.items()))
    at = f" at a context of {summary.context}" if summary.context else ""
    lines.append(f"  memory     {fit.verdict}: needs {fit.needed_mib:.0f} MiB of {fit.available_mib:.0f} MiB{at}")
    lines += [f"    {item.mib:9.1f} MiB  {item.name}  ({item.detail})" for item in fit.items]
    if fit.advice:
        lines.append(f"  advice     {fit.advice}")
    for speed in summary.speeds:
        lines.append(
            f"  speed      {_three(speed.low_tok_s)} to {_three(speed.high_tok_s)} tokens/s of one sequence, "
            f"{speed.runtime} ({speed.confidence}; {speed.provenance})"
        )
        if speed.requires:
            lines.append(f"             needs {speed.requires}")
    lines += [f"  note       {note}" for note in summary.notes]
    return lines
