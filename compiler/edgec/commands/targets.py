"""`edgec targets`: the target profiles, or one of them with where its numbers come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from edgec.commands.output import Output, output_options
from edgec.target.load import list_targets, load_target
from edgec.target.model import Provenance, Runtime, Target

_WIDTH = 120


@click.command()
@click.argument("name", required=False)
@output_options
def command(name: str | None, output: Output) -> None:
    """List target profiles, or show one (a name or a path) with the provenance of its numbers."""
    if name is None:
        profiles = [load_target(n, folder=Path()) for n in list_targets()]
        output.result({"targets": [_facts(p) for p in profiles]}, _list_text(profiles))
        return
    target = load_target(name, folder=Path())
    output.result({"target": target.model_dump(mode="json", by_alias=True)}, _profile_text(target))


def _facts(target: Target) -> dict[str, Any]:
    return {
        "name": target.name,
        "title": target.title,
        "memory_mib": target.memory.total_mib,
        "bandwidth_gbs": target.bandwidth.theoretical_gbs,
        "formats": _formats(target),
    }


def _formats(target: Target) -> list[str]:
    return sorted({f for r in target.runtimes.values() for f in r.formats})


def _list_text(profiles: list[Target]) -> str:
    table = _table("name", "device", "memory", "bandwidth", "formats")
    for t in profiles:
        bandwidth = f"{t.bandwidth.theoretical_gbs:g} GB/s"
        table.add_row(t.name, t.title, f"{t.memory.total_mib} MiB", bandwidth, ", ".join(_formats(t)))
    return f"{_rendered(table)}\n\nedgec targets NAME shows one with the provenance of its numbers."


def _profile_text(target: Target) -> str:
    table = _table("", "", "where it comes from")
    memory, cpu, isa = target.memory, target.cpu, target.isa
    table.add_row("cpu", f"{cpu.model}; {cpu.threads} threads", _from(cpu.provenance))
    table.add_row("isa", f"{isa.march}; {', '.join(isa.features)}", _from(isa.provenance))
    table.add_row("memory", f"{memory.total_mib} MiB", _from(memory.provenance))
    table.add_row("kept for the system", f"{memory.os_reserve_mib} MiB", _from(memory.os_reserve_provenance))
    bandwidth = _with(f"{target.bandwidth.theoretical_gbs:g} GB/s theoretical", target.bandwidth.requires)
    table.add_row("bandwidth", bandwidth, _from(target.bandwidth.provenance))
    if target.accelerator is not None:
        taken = f"{target.accelerator.kind}: {', '.join(target.accelerator.allowed_dtypes)}"
        table.add_row("accelerator", taken, _from(target.accelerator.provenance))
    for runtime in target.runtimes.values():
        _add_runtime(table, runtime)
    table.add_row("storage", _storage(target), _from(target.storage.provenance))
    for mode in target.power_modes:
        table.add_row(f"power mode {mode.name}", _power(mode.watts, mode.note), _from(mode.provenance))
    if target.software is not None:
        versions = target.software.model_dump(exclude={"provenance"}, exclude_none=True)
        table.add_row("software", "; ".join(f"{k} {v}" for k, v in versions.items()), _from(target.software.provenance))
    if target.browser is not None:
        needs = f"threads: {target.browser.threads_need}; memory64: {target.browser.memory64}"
        table.add_row("browser", needs, _from(target.browser.provenance))
    return f"{target.name}: {target.title}\n\n{_rendered(table)}"


def _add_runtime(table: Table, runtime: Runtime) -> None:
    schemes = ", ".join(dict.fromkeys((*runtime.preferred_schemes, *runtime.schemes)))
    table.add_row(runtime.title, f"{', '.join(runtime.formats)}: {schemes}", _from(runtime.provenance))
    for scheme, reason in runtime.refused_schemes.items():
        table.add_row(f"  not {scheme}", reason, "")
    table.add_row("  own memory", f"{runtime.constant_mib} MiB", _from(runtime.constant_provenance))
    for speed in runtime.speed:
        low, high = speed.bw_eff_gbs
        what = _with(f"{low:g} to {high:g} GB/s effective, {speed.confidence}", speed.requires)
        table.add_row(f"  decode, {speed.quant_family}", what, _from(speed.provenance))


def _storage(target: Target) -> str:
    free = target.storage.free_mib
    text = "free space unknown" if free is None else f"{free} MiB free"
    largest = target.storage.max_file_mib
    return f"{text}, {target.storage.ab_slots} bundles kept" + (f", files up to {largest} MiB" if largest else "")


def _power(watts: float | None, note: str | None) -> str:
    return "; ".join(part for part in (f"{watts:g} W" if watts is not None else "", note or "") if part)


def _with(text: str, requires: str | None) -> str:
    return f"{text}; needs {requires}" if requires else text


def _from(provenance: Provenance) -> str:
    note = f" ({provenance.note.strip()})" if provenance.note else ""
    return f"{provenance.kind}: {provenance.source}{note}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, show_header=any(columns), header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    return table


def _rendered(table: Table) -> str:
    """The table as plain text: the same in a terminal, a pipe and a test."""
    console = Console(width=_WIDTH, no_color=True, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
