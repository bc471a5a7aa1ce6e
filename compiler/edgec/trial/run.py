"""Runs trials on an unpacked bundle, each with the toolchain that it needs.

Rule: trials are named in one place, here; what a bundle lacks is said before anything is installed for a trial of it;
what one writes goes to the folder it is given or to the logs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgec.events import Reporter
from edgec.prove.emulated.subject import Bench
from edgec.toolchain.environments import Environment, find_toolchain, install
from edgec.trial.dify_bundle import try_dify_bundle
from edgec.trial.emulated import try_emulated
from edgec.trial.model import Trial
from edgec.trial.triable import dify_package, triton_models
from edgec.trial.triton import try_triton
from edgec.trial.web import site_settings, try_web
from edgec.trial.web_browser import find_chromium


@dataclass(frozen=True)
class Stage:
    """Where trials run: an unpacked bundle that they may change, the user's cache, and how they speak."""

    bundle: Path
    cache: Path
    offline: bool
    report: Reporter

    @property
    def logs(self) -> Path:
        """Where servers write."""
        return self.cache / "logs"

    def environment(self, toolchain: str) -> Environment:
        """An installed toolchain. Raises ToolError."""
        log = self.logs / f"toolchain-{toolchain}.log"
        root = self.cache / "toolchains"
        return install(find_toolchain(toolchain), root, offline=self.offline, report=self.report, log=log)


def _triton(stage: Stage) -> Trial:
    environment = stage.environment("triton")
    checks = try_triton(stage.bundle, environment=environment, report=stage.report, logs=stage.logs)
    versions = ", ".join(f"{name} {environment.versions[name]}" for name in ("nvidia-pytriton", "xllamacpp"))
    return Trial("tritonserver", versions, checks)


def _dify(stage: Stage) -> Trial:
    environment = stage.environment("dify")
    checks = try_dify_bundle(stage.bundle, environment=environment, report=stage.report, logs=stage.logs)
    return Trial("Dify's plugin SDK", f"dify_plugin {environment.versions['dify-plugin']}", checks)


def _web(stage: Stage) -> Trial:
    # What is missing is told before anything is installed.
    chromium = find_chromium()
    environment = stage.environment("playwright")
    version, checks = try_web(
        stage.bundle, chromium=chromium, environment=environment, environment_of=stage.environment,
        report=stage.report, logs=stage.logs,
    )  # fmt: skip
    return Trial("Chromium", f"{version}, playwright {environment.versions['playwright']}", checks)


TRIALS: Mapping[str, Callable[[Stage], Trial]] = {"triton": _triton, "dify": _dify, "web": _web}
# What a bundle must have for each; raises InputError.
_NEEDED: Mapping[str, Callable[[Path], object]] = {
    "triton": triton_models,
    "dify": dify_package,
    "web": site_settings,
}


def run_emulation(stage: Stage) -> tuple[Trial, ...]:
    """The bundle's artifacts on an emulated processor of its target. Raises InputError, ToolError."""
    bench = Bench(
        toolchains=stage.cache / "toolchains", results=stage.cache / "emulation", logs=stage.logs,
        offline=stage.offline, report=stage.report,
    )  # fmt: skip
    return try_emulated(stage.bundle, bench)


def run_trials(names: Sequence[str], stage: Stage) -> tuple[Trial, ...]:
    """The trials of `names`, in that order. Raises InputError (the bundle has nothing to try), ToolError."""
    for name in names:
        _NEEDED[name](stage.bundle)
    return tuple(TRIALS[name](stage) for name in names)
