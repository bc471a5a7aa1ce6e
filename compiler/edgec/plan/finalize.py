"""What every finalize plan has in common: what the device must be."""

from __future__ import annotations

from edgec.bundle.finalize_plan import Requirements
from edgec.plan.model import Fit
from edgec.target.model import Software, Target

_MIB = 2**20


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
