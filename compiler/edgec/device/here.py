"""Engines of a bundle that was just made, built at once where this machine is a device that they are for.

Rule: the same way as `edgec device finalize`, with all its comparisons; a machine that is no such device, or has no
builder, builds nothing, and says why only where a builder is there.
"""

from __future__ import annotations

from pathlib import Path

from edgec.device.facts import read_facts
from edgec.device.finalize import Bench, Finalized, finalize, finalize_plans
from edgec.device.match import NOTHING, require_match
from edgec.errors import DeviceError
from edgec.events import Note

_LOG = "versions-here.log"


def finish_here(bundle: Path, bench: Bench) -> tuple[Finalized, ...]:
    """The engines that were built, or stood. Raises what `finalize` raises, once this machine is found to be fit."""
    finished = []
    for plan in finalize_plans(bundle, bench):
        try:
            vendor = bench.vendor(plan)
        except DeviceError:
            # The usual case: the device has the builder, not the machine that compiles.
            continue
        try:
            versions = vendor.versions(bench.state / _LOG)
            require_match(plan, read_facts(bench.root, bench.state, bench.probe), versions, NOTHING)
        except DeviceError as other:
            bench.report(Note(f"no engine of {plan.artifact} is built here: {other.diagnostics[0].message}"))
            continue
        finished.append(finalize(bundle, artifact=plan.artifact, bench=bench))
    return tuple(finished)
