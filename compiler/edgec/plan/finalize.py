"""What every finalize plan has in common: what the device must be."""

from __future__ import annotations

from edgec.bundle.finalize_plan import FinalizePlan, Requirements
from edgec.plan.model import Fit
from edgec.target.model import Software, Target

_MIB = 2**20


def build_note(plan: FinalizePlan, fit: Fit) -> str:
    """What building the engine takes of the device, and what to do where it has less."""
    need = plan.requires
    if need.build_memory_mib is None:
        return "what building the engine takes of the device is not known"
    note = (
        f"building the engine takes about {need.build_memory_mib} MiB of the device's memory and swap, and "
        f"{need.build_disk_mib} MiB of its disk (an estimate, not measured)"
    )
    lack_mib = need.build_memory_mib - int(fit.available_mib)
    if lack_mib <= 0:
        return note
    return (
        f"{note}: {lack_mib} MiB more than its memory has; add swap, or build on one with the same GPU and more memory"
    )


def requirements(
    target: Target, software: Software | None, fit: Fit, *, build_memory_mib: int, build_disk_bytes: int
) -> Requirements:
    """The device that the artifact is for, as its profile says. `build_*`: what building the engine needs, about."""
    accelerator = target.accelerator
    arch = target.isa.arch
    return Requirements(
        arch=arch if arch in ("aarch64", "x86_64") else None,
        sm=None if accelerator is None else accelerator.sm,
        l4t=None if software is None else software.l4t,
        jetpack=None if software is None else software.jetpack,
        cuda=None if software is None else software.cuda,
        tensorrt=None if software is None else software.tensorrt,
        driver_min=None if software is None else software.driver_min,
        build_memory_mib=build_memory_mib,
        build_disk_mib=-(-build_disk_bytes // _MIB),
        run_memory_mib=round(fit.needed_mib),
        power_mode=next((m.name for m in target.power_modes if m.name.upper().startswith("MAXN")), None),
    )
