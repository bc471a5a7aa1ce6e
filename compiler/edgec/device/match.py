"""Compares a device with what a bundle needs: every mismatch at once, each with what to change.

Rule: a fact that the bundle needs and the device does not tell is a mismatch; nothing is built on a hope. A power mode
is advice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgec.bundle.finalize_plan import FinalizePlan, Requirements
from edgec.device.facts import DeviceFacts, Fact
from edgec.device.packages import parts
from edgec.device.vendor import PACKAGES, Versions
from edgec.errors import DeviceError, Diagnostic

_BUILD_HINT = (
    "the builder needs about as much, an estimate: end other programs, a desktop first, add swap, or build on another "
    "device with this GPU and more memory"
)
_TITLES = {"l4t": "L4T", "jetpack": "JetPack", "cuda": "CUDA", "tensorrt": "TensorRT"}


@dataclass(frozen=True)
class Amounts:
    """What the rest of the work needs of this device, in MiB. None: the bundle does not say.

    `build_memory_mib` may lie in swap; `memory_mib`, what the engine takes when it runs, may not.
    """

    build_memory_mib: int | None
    memory_mib: int | None
    gpu_memory_mib: int | None
    disk_mib: int | None


NOTHING = Amounts(None, None, None, None)


def require_match(plan: FinalizePlan, facts: DeviceFacts, versions: Versions, amounts: Amounts) -> tuple[str, ...]:
    """Warnings, one each. Raises DeviceError with every mismatch."""
    found = [*_device(plan.requires, facts, versions), *_backend(plan, versions), *_amounts(amounts, facts)]
    if found:
        raise DeviceError(*_diagnostics(found, facts))
    return tuple(_power_warnings(plan.requires, facts))


def with_mismatches(plan: FinalizePlan, facts: DeviceFacts, missing: DeviceError) -> DeviceError:
    """The lack of the vendor's programs, after what else is wrong: they would be installed for nothing."""
    found = _device(plan.requires, facts, Versions("", None, None))
    return DeviceError(*_diagnostics(found, facts), *missing.diagnostics)


def _device(need: Requirements, facts: DeviceFacts, versions: Versions) -> list[tuple[str, str]]:
    return [*_exact(need, facts), *_releases(need, facts, versions), *_driver(need, facts)]


def _diagnostics(found: list[tuple[str, str]], facts: DeviceFacts) -> list[Diagnostic]:
    place = facts.module.text if facts.module.value is not None else "this device"
    return [Diagnostic(message, place=place, hint=hint) for message, hint in found]


def require_amounts(amounts: Amounts, facts: DeviceFacts) -> None:
    """Raises DeviceError when there is too little memory or disk."""
    if found := list(_amounts(amounts, facts)):
        raise DeviceError(*(Diagnostic(message, hint=hint) for message, hint in found))


def _exact(need: Requirements, facts: DeviceFacts) -> Iterator[tuple[str, str]]:
    if need.arch is not None and facts.arch.value != need.arch:
        yield (
            f"the bundle is for {need.arch}, and this device {_told(facts.arch, 'is ')}",
            f"finalize it on a device with {need.arch}, or build a bundle for a target like this one",
        )
    if need.sm is not None and facts.sm.value != need.sm:
        yield (
            f"the bundle is for GPUs of compute capability sm_{need.sm}, and this device {_told(facts.sm, 'has sm_')}",
            f"an engine runs only on the kind of GPU it is built on: finalize it on a device with sm_{need.sm}, or "
            "build a bundle for a target with this GPU",
        )


def _releases(need: Requirements, facts: DeviceFacts, versions: Versions) -> Iterator[tuple[str, str]]:
    for name, title in _TITLES.items():
        wanted: str | None = getattr(need, name)
        fact = tensorrt_fact(facts, versions) if name == "tensorrt" else getattr(facts, name)
        if wanted is None or begins_with(fact.value, wanted):
            continue
        profile = f"{title} {fact.value}" if fact.value is not None else f"the {title} of this device"
        yield (
            f"the bundle needs {title} {wanted}, and this device {_told(fact)}",
            f"{_change(need, facts, f'{title} {wanted}')}, or build the bundle for a target profile with {profile}",
        )


def _change(need: Requirements, facts: DeviceFacts, wanted: str) -> str:
    jetpack = f"JetPack {need.jetpack}" if need.jetpack else wanted
    if need.jetpack is None and need.l4t is None:
        return f"install {wanted}"
    return f"finalize it on a Jetson with {jetpack}" if facts.l4t.value is None else f"flash {jetpack}"


def _driver(need: Requirements, facts: DeviceFacts) -> Iterator[tuple[str, str]]:
    if need.driver_min is None:
        return
    have = facts.driver.value
    if have is None or parts(str(have)) < parts(need.driver_min):
        yield (
            f"the bundle needs the NVIDIA driver {need.driver_min} or newer, and this device {_told(facts.driver)}",
            f"update the driver to {need.driver_min} (on a Jetson it comes with JetPack)",
        )


def _backend(plan: FinalizePlan, versions: Versions) -> Iterator[tuple[str, str]]:
    need, package = plan.backend, PACKAGES[plan.backend.name]
    if versions.backend != need.version:
        have = f"{package} {versions.backend}" if versions.backend else f"no {package}"
        yield (
            f"the bundle was made for {package} {need.version}, and {versions.python} has {have}",
            f"install {package} {need.version} in a virtual environment (exporter and builder must be the same "
            "version; a user's own packages are not seen) and name its `bin` with --tools, or build the bundle with "
            f"{f'{need.name} {versions.backend}' if versions.backend else 'the version of this device'}",
        )


def _amounts(need: Amounts, facts: DeviceFacts) -> Iterator[tuple[str, str]]:
    for what, need_mib, fact, hint in (
        ("memory and swap", need.build_memory_mib, _with_swap(facts), _BUILD_HINT),
        ("memory", need.memory_mib, facts.memory_free_mib, "end other programs, a desktop first"),
        ("memory of the GPU", need.gpu_memory_mib, facts.gpu_memory_free_mib, "end what else uses the GPU"),
        ("disk", need.disk_mib, facts.disk_free_mib, "free space, or set XDG_STATE_HOME to a larger disk"),
    ):
        have = fact.value
        if need_mib is None:
            continue
        if not isinstance(have, int):
            yield (
                f"{need_mib} MiB of {what} are needed, and this device does not tell how much is free ({fact.found})",
                "see what `edgec device facts` cannot read",
            )
        elif have < need_mib:
            yield (
                f"{need_mib} MiB of {what} are needed, and {have} MiB are free ({fact.found})",
                f"{hint}: {need_mib - have} MiB are missing",
            )


def _with_swap(facts: DeviceFacts) -> Fact:
    free, swap = facts.memory_free_mib, facts.swap_free_mib
    if not isinstance(free.value, int) or not isinstance(swap.value, int):
        return free
    return Fact(value=free.value + swap.value, found=f"{free.found}, swap: {swap.found}")


def _power_warnings(need: Requirements, facts: DeviceFacts) -> Iterator[str]:
    advised, have = need.power_mode, facts.power_mode.value
    if advised is None or have is None or _same_mode(str(have), advised) or _watts(str(have)) >= _watts(advised):
        return
    number = next((n for name, n in facts.power_modes.items() if _same_mode(name, advised)), None)
    change = f"sudo nvpmodel -m {number}" if number is not None else "see /etc/nvpmodel.conf"
    yield f"the power mode is {have}, and {advised} is advised: {change}"


def begins_with(have: str | int | None, wanted: str) -> bool:
    """Whether a version begins with another one, part by part."""
    return have is not None and parts(str(have))[: len(parts(wanted))] == parts(wanted)


def tensorrt_fact(facts: DeviceFacts, versions: Versions) -> Fact:
    """The TensorRT that the vendor's Python uses, which builds; else that of the system."""
    if versions.tensorrt is None:
        return facts.tensorrt
    return Fact(value=versions.tensorrt, found=f"package tensorrt of {versions.python}")


def _told(fact: Fact, prefix: str = "has ") -> str:
    return f"does not tell its own ({fact.found})" if fact.value is None else f"{prefix}{fact.value}"


def _same_mode(first: str, second: str) -> bool:
    return first.replace("_", " ").casefold() == second.replace("_", " ").casefold()


def _watts(mode: str) -> int:
    """The watts that a mode's name tells; MAXN has none because it has no limit."""
    number = mode.partition("W")[0]
    return int(number) if number.isdigit() else 1_000_000 if mode.upper().startswith("MAXN") else 0
