"""Checks of any site's page, whatever its model does: it works, asks nobody else, has threads or says that it has none.

Rule: speed and memory are what this machine's browser had, and judge nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.events import Reporter
from edgec.prove.model import Check
from edgec.toolchain.environment import Environment
from edgec.trial.verdicts import at_least, none_of, not_judged
from edgec.trial.web_browser import Task, Visit, visit
from edgec.trial.web_server import WebSite

SETTINGS = "site/model.json"
_ONE_THREAD = "One thread only"


@dataclass(frozen=True)
class Case:
    """What all visits of one trial share: the unpacked bundle, what its page loads, the browser and its toolchain.

    `environment_of`: installs another toolchain, where what is compared with needs one.
    """

    bundle: Path
    settings: Mapping[str, Any]
    environment: Environment
    chromium: Path
    report: Reporter
    logs: Path
    environment_of: Callable[[str], Environment]

    @property
    def model(self) -> Path:
        """The weights, the file that a runtime opens first."""
        return (self.bundle / SETTINGS).parent / str(self.settings["files"][0])


def visited(case: Case, site: WebSite, name: str, task: Task) -> Visit:
    """One visit; its log and picture are `name`.log and .png."""
    return visit(
        case.environment, case.chromium, site.page, task, model_mib=int(case.settings["needed_mib"]),
        log=case.logs / f"{name}.log", screenshot=case.logs / f"{name}.png", report=case.report,
    )  # fmt: skip


def page_checks(how: str, visited: Visit, site: WebSite, case: Case) -> list[Check]:
    """Whether the page works, and asks nobody else."""
    failures = [*visited.complaints, *(f"not served: {path}" for path in site.missing)]
    if visited.error is not None:
        failures.insert(0, visited.error)
    elif not visited.answer or visited.per_s <= 0:
        failures.insert(0, f"a visitor's text gets no answer; the page says {visited.shown.get('status')!r}")
    hint = f"see the page in {case.logs / ('web-single.png' if how else 'web.png')}"
    checks = [
        none_of(f"the page loads the model and answers{how}", failures, 2, "failures", hint=hint),
        none_of(f"requests to other servers{how}", list(visited.elsewhere), 1, "requests", hint=hint),
    ]
    if not how:
        silent_on = [] if visited.shown.get("storage") else ["the page says nothing of the browser's storage"]
        checks.append(none_of("storage told before the download", silent_on, 1, "failed", hint=hint))
    return checks


def thread_checks(visited: Visit, case: Case) -> list[Check]:
    """Whether the headers give threads."""
    hint = "the headers Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy must come with every file"
    not_isolated = [] if visited.isolated else ["crossOriginIsolated is false"]
    checks = [none_of("cross-origin isolated with the headers", not_isolated, 1, "failed", hint=hint)]
    wanted = min(visited.cores, int(case.settings["threads"]))
    if visited.error is None and wanted > 1:
        checks.append(at_least("threads with the headers", visited.threads, wanted, "threads", hint=hint))
    else:
        checks.append(not_judged("threads with the headers", f"the page has {visited.cores} cores"))
    return checks


def fallback_check(visited: Visit, case: Case) -> Check:
    """Whether the page says aloud what it lacks without the headers."""
    said = visited.shown.get("threads", "")
    failures = []
    if visited.isolated:
        failures.append("crossOriginIsolated is true")
    if visited.error is None and visited.threads != 1:
        failures.append(f"{visited.threads} threads")
    if not said.startswith(_ONE_THREAD):
        failures.append(f"the page does not say aloud that there is one thread: {said!r}")
    name = "without headers one thread, said aloud"
    return none_of(name, failures, 3, "failed", hint=f"see the page in {case.logs / 'web-single.png'}")


def measured(how: str, visited: Visit, unit: str, natively: float) -> list[Check]:
    """What this machine's browser had, while whatever else ran on it ran."""
    detail = f"measured in Chromium {visited.version}; natively {natively:.1f} with as many threads"
    threads = f"{visited.threads} threads" if visited.threads > 1 else "one thread"
    tab = (
        "not told by the browser"
        if visited.memory_mib is None
        else f"the browser counts {visited.memory_mib:.0f} for the tab"
    )
    return [
        at_least(f"speed of {threads}{how}", visited.per_s, 0, unit, detail=detail, hint=""),
        at_least(f"memory of the browser's processes{how}", visited.rss_mib, 0, "MiB", detail=tab, hint=""),
    ]
