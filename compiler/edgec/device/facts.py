"""What this device is: each fact with how it was found.

Rule: unknown is unknown and says why; nothing is guessed from something else than a published table that is named.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from edgec.device import jetson
from edgec.device.gpu import Gpu, GpuProbe, probe_gpu
from edgec.device.jetson import read_text
from edgec.device.packages import STATUS, Package, installed_packages, newest
from edgec.store.atomic import free_bytes
from edgec.toolchain.memory import available_mib

CUDA_VERSION = "usr/local/cuda/version.json"
DRIVER_VERSION = "proc/driver/nvidia/version"
_ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64"}


class Fact(BaseModel):
    """A fact about the device. `value` is None when it is unknown; `found`: from where it is, or why it is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: str | int | None
    found: str

    @property
    def text(self) -> str:
        """For people."""
        return "unknown" if self.value is None else str(self.value)


class DeviceFacts(BaseModel):
    """A device. Versions are without the packager's additions; memory and disk are what is free now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    module: Fact
    arch: Fact
    sm: Fact
    l4t: Fact
    jetpack: Fact
    cuda: Fact
    tensorrt: Fact
    driver: Fact
    memory_total_mib: Fact
    memory_free_mib: Fact
    swap_free_mib: Fact
    gpu_memory_free_mib: Fact
    disk_free_mib: Fact
    power_mode: Fact
    # What could be set with `nvpmodel -m`: name to number.
    power_modes: dict[str, int]

    def facts(self) -> dict[str, Fact]:
        """The facts by name, in the order they are shown."""
        return {name: value for name, value in self if isinstance(value, Fact)}


def read_facts(root: Path, state: Path, probe: GpuProbe = probe_gpu) -> DeviceFacts:
    """The device whose file system is at `root`; `state`: where engines will stand, for the free disk.

    Another root than `/` (an image that is mounted) is only read: its GPU is not asked.
    """
    running = root.resolve() == Path("/")
    packages = installed_packages(root)
    gpu = probe() if running or probe is not probe_gpu else None
    l4t = _l4t(root, packages)
    power = jetson.power_mode(root)
    return DeviceFacts(
        module=_module(root, gpu),
        arch=_arch(running, packages),
        sm=_sm(root, gpu, asked=running),
        l4t=l4t,
        jetpack=_jetpack(packages, l4t),
        cuda=_cuda(root, packages),
        tensorrt=_tensorrt(packages),
        driver=_driver(root, gpu),
        memory_total_mib=_meminfo(root, "MemTotal"),
        memory_free_mib=_memory_free(root, running=running),
        swap_free_mib=_meminfo(root, "SwapFree"),
        gpu_memory_free_mib=_gpu_memory(gpu),
        disk_free_mib=Fact(value=free_bytes(state) >> 20, found=f"the disk of {state}"),
        power_mode=_power(power),
        power_modes={} if power is None else dict(power.identifiers),
    )


def facts_text(facts: DeviceFacts) -> str:
    """The facts for a person, one a line."""
    shown = facts.facts()
    width = max(map(len, shown))
    return "\n".join(f"{name:<{width}}  {fact.text:<24}  {fact.found}" for name, fact in shown.items())


def _unknown(why: str) -> Fact:
    return Fact(value=None, found=why)


def _package(package: Package) -> Fact:
    return Fact(value=package.release, found=f"package {package.name} {package.version}")


def _module(root: Path, gpu: Gpu | None) -> Fact:
    if (name := jetson.module_name(root)) is not None:
        return Fact(value=name, found=f"/{jetson.MODEL}")
    if gpu is not None and gpu.name is not None:
        return Fact(value=gpu.name, found=gpu.found)
    return _unknown(f"no /{jetson.MODEL}, and no GPU that says its name")


def _arch(running: bool, packages: Mapping[str, Package]) -> Fact:
    if running:
        return Fact(value=platform.machine(), found="uname")
    package = packages.get("dpkg") or packages.get("base-files")
    if package is not None and package.architecture in _ARCHITECTURES:
        return Fact(value=_ARCHITECTURES[package.architecture], found=f"architecture of package {package.name}")
    return _unknown("this is not the running system, and it does not record its architecture")


def _sm(root: Path, gpu: Gpu | None, *, asked: bool) -> Fact:
    if gpu is not None and gpu.sm is not None:
        return Fact(value=gpu.sm, found=gpu.found)
    if (chip := jetson.chip_sm(root)) is not None:
        return Fact(value=chip[0], found=f"/{jetson.COMPATIBLE} names {chip[1]}; no driver was asked")
    return _unknown("no CUDA driver answers, and no nvidia-smi" if asked else "this is not the running system")


def _l4t(root: Path, packages: Mapping[str, Package]) -> Fact:
    if (release := jetson.tegra_release(root)) is not None:
        return Fact(value=release, found=f"/{jetson.TEGRA_RELEASE}")
    if (package := packages.get("nvidia-l4t-core")) is not None:
        return _package(package)
    return _unknown(f"no /{jetson.TEGRA_RELEASE}: not a Jetson")


def _jetpack(packages: Mapping[str, Package], l4t: Fact) -> Fact:
    for name in ("nvidia-jetpack", "nvidia-jetpack-runtime"):
        if (package := packages.get(name)) is not None:
            return _package(package)
    if isinstance(l4t.value, str) and (known := jetson.jetpack_of(l4t.value)) is not None:
        return Fact(value=known, found=f"the JetPack that brought L4T {l4t.value}; its package is not installed")
    return _unknown("package nvidia-jetpack is not installed")


def _cuda(root: Path, packages: Mapping[str, Package]) -> Fact:
    try:
        return Fact(
            value=str(json.loads(read_text(root / CUDA_VERSION) or "")["cuda"]["version"]), found=f"/{CUDA_VERSION}"
        )
    except (ValueError, KeyError, TypeError):
        # Not written by every release; some boards have the runtime only.
        package = newest(packages, r"cuda-cudart-\d+-\d+")
    return _unknown(f"no /{CUDA_VERSION}, no package cuda-cudart") if package is None else _package(package)


def _tensorrt(packages: Mapping[str, Package]) -> Fact:
    package = newest(packages, r"libnvinfer\d+") or packages.get("tensorrt")
    return _unknown(f"no package libnvinfer in /{STATUS}") if package is None else _package(package)


def _driver(root: Path, gpu: Gpu | None) -> Fact:
    text = read_text(root / DRIVER_VERSION) or ""
    if found := re.search(r"NVRM version:.*?Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", text):
        return Fact(value=found[1], found=f"/{DRIVER_VERSION}")
    if gpu is not None and gpu.driver is not None:
        return Fact(value=gpu.driver, found=gpu.found)
    return _unknown(f"no /{DRIVER_VERSION}, and nvidia-smi does not say")


def _meminfo(root: Path, name: str) -> Fact:
    found = re.search(rf"^{name}:\s+(\d+) kB", read_text(root / "proc/meminfo") or "", re.M)
    return (
        _unknown(f"no {name} in /proc/meminfo")
        if found is None
        else Fact(value=int(found[1]) >> 10, found="/proc/meminfo")
    )


def _memory_free(root: Path, *, running: bool) -> Fact:
    if running and (free_mib := available_mib()) is not None:
        return Fact(value=free_mib, found="/proc/meminfo and the limits of the cgroup")
    return _meminfo(root, "MemAvailable")


def _gpu_memory(gpu: Gpu | None) -> Fact:
    if gpu is None or gpu.memory_free_mib is None:
        return _unknown("no GPU with memory of its own says it")
    return Fact(value=gpu.memory_free_mib, found=gpu.found)


def _power(power: jetson.PowerMode | None) -> Fact:
    if power is None:
        return _unknown(f"no /{jetson.POWER_STATUS} that names a mode of /{jetson.POWER_MODES}")
    return Fact(value=power.name, found=f"/{jetson.POWER_STATUS}, /{jetson.POWER_MODES}")
