"""Tries the web site of an unpacked bundle in a real Chromium, with the headers that give threads and without them.

Rule: what a visitor's browser computes is compared with native llama.cpp on the same weights; speed and memory are
what this machine's browser had, and judge nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.errors import InputError
from edgec.events import ActionFinished, ActionStarted, Reporter, silent
from edgec.prove.model import Check
from edgec.toolchain.environment import Environment
from edgec.trial.verdicts import at_least, at_most, none_of, not_judged
from edgec.trial.web_browser import Visit, visit
from edgec.trial.web_native import Agreement, compare_natively
from edgec.trial.web_server import WebSite, web_site

SETTINGS = "site/model.json"
_ACTION = "try web"
# A text, a beginning of code, other scripts and signs.
PROMPTS = ("Docker is a tool that", "def main(arguments):\n    ", "Größe: 3 × 4 → ")
MAX_TOKENS = 12
_TOP = 10
_ONE_THREAD = "One thread only"


@dataclass(frozen=True)
class Tolerance:
    """How far a browser may be from native llama.cpp, in nats. Measured, with room: see docs/browser.md.

    `tie`: a token that natively is so little less likely than the first is as good as it; `mean`: between the
    log-probabilities, over the likeliest tokens of every step.
    """

    tie: float
    mean: float


_FLOATS = ("f16", "f32")
EXACT = Tolerance(tie=0.01, mean=0.002)
# WebAssembly's kernels cut activations to 8 bits where others round them.
CUT = Tolerance(tie=0.1, mean=0.03)


@dataclass(frozen=True)
class _Case:
    """What all visits of one trial share."""

    bundle: Path
    settings: Mapping[str, Any]
    environment: Environment
    chromium: Path
    report: Reporter
    logs: Path

    @property
    def tolerance(self) -> Tolerance:
        """What the scheme of the weights allows."""
        return EXACT if self.settings["scheme"] in _FLOATS else CUT

    @property
    def model(self) -> Path:
        """The weights, the file that llama.cpp opens first."""
        return (self.bundle / SETTINGS).parent / str(self.settings["files"][0])


def try_web(
    bundle_folder: Path, *, chromium: Path, environment: Environment, report: Reporter = silent, logs: Path
) -> tuple[str, tuple[Check, ...]]:
    """Serves the unpacked bundle on 127.0.0.1 and visits it twice; the browser's version, and what held.

    Logs and pictures of the page are `web*.log` and `web*.png` in `logs`. Raises InputError when the bundle has no web
    site, ToolError when this machine cannot run the browser.
    """
    settings = site_settings(bundle_folder)
    case = _Case(bundle_folder, settings, environment, chromium, report, logs)
    began = time.monotonic()
    report(ActionStarted(_ACTION, "trial", f"visit the site of {settings['title']} in {case.chromium.name}"))
    with web_site(bundle_folder, isolated=True) as site:
        first = _visited(case, site, "web")
        checks = [*_page_checks("", first, site, case), *_thread_checks(first, case)]
        agreement = _agreement(case, first)
    if agreement is not None:
        checks += _agreement_checks("", agreement, case)
    with web_site(bundle_folder, isolated=False) as site:
        second = _visited(case, site, "web-single")
        checks += [*_page_checks(" without headers", second, site, case), _fallback_check(second, case)]
        alone = _agreement(case, second)
    if alone is not None:
        checks += _agreement_checks(" without headers", alone, case)
    checks += _measured(first, agreement, " without headers", second, alone)
    report(ActionFinished(_ACTION, "trial", cached=False, wall_s=time.monotonic() - began))
    return first.version, tuple(checks)


def site_settings(bundle: Path) -> Mapping[str, Any]:
    """What the site of an unpacked bundle loads. Raises InputError when there is none."""
    path = bundle / SETTINGS
    if not path.is_file():
        raise InputError.of(
            "the bundle holds no web site",
            place=str(bundle),
            hint="sites are for language models with `target: wasm-browser`; else verify without --run web",
        )
    settings: Mapping[str, Any] = json.loads(path.read_bytes())
    return settings


def _visited(case: _Case, site: WebSite, name: str) -> Visit:
    return visit(
        case.environment, case.chromium, site.page,
        prompts=PROMPTS, max_tokens=MAX_TOKENS, top=_TOP, model_mib=int(case.settings["needed_mib"]),
        log=case.logs / f"{name}.log", screenshot=case.logs / f"{name}.png", report=case.report,
    )  # fmt: skip


def _agreement(case: _Case, visited: Visit) -> Agreement | None:
    """None where the page did not get so far."""
    if len(visited.traces) != len(PROMPTS):
        return None
    return compare_natively(
        case.model, visited.traces, end_tokens=visited.end_tokens, context=int(case.settings["context"]),
        threads=visited.threads, max_tokens=MAX_TOKENS, logs=case.logs, report=case.report,
    )  # fmt: skip


def _page_checks(how: str, visited: Visit, site: WebSite, case: _Case) -> list[Check]:
    failures = [*visited.complaints, *(f"not served: {path}" for path in site.missing)]
    if visited.error is not None:
        failures.insert(0, visited.error)
    elif not visited.answer or visited.tokens_per_s <= 0:
        failures.insert(0, f"a visitor's text gets no answer; the page says {visited.shown.get('status')!r}")
    hint = f"see the page in {case.logs / ('web-single.png' if how else 'web.png')}"
    checks = [
        none_of(f"the page loads the model and answers{how}", failures, len(PROMPTS) + 1, "failures", hint=hint),
        none_of(f"requests to other servers{how}", list(visited.elsewhere), 1, "requests", hint=hint),
    ]
    if not how:
        silent_on = [] if visited.shown.get("storage") else ["the page says nothing of the browser's storage"]
        checks.append(none_of("storage told before the download", silent_on, 1, "failed", hint=hint))
    return checks


def _thread_checks(visited: Visit, case: _Case) -> list[Check]:
    hint = "the headers Cross-Origin-Opener-Policy and Cross-Origin-Embedder-Policy must come with every file"
    not_isolated = [] if visited.isolated else ["crossOriginIsolated is false"]
    checks = [none_of("cross-origin isolated with the headers", not_isolated, 1, "failed", hint=hint)]
    wanted = min(visited.cores, int(case.settings["threads"]))
    if visited.error is None and wanted > 1:
        checks.append(at_least("threads with the headers", visited.threads, wanted, "threads", hint=hint))
    else:
        checks.append(not_judged("threads with the headers", f"the page has {visited.cores} cores"))
    return checks


def _fallback_check(visited: Visit, case: _Case) -> Check:
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


def _agreement_checks(how: str, agreement: Agreement, case: _Case) -> list[Check]:
    hint = (
        f"{case.settings['runtime']} computes other numbers than {agreement.runtime}; try another scheme, and report it"
    )
    beyond = [f"{where}, likelier by {gap:.3g} nats" for where, gap in agreement.misses if gap > case.tolerance.tie]
    ties = len(agreement.misses) - len(beyond)
    tied = f", {ties} ties within {case.tolerance.tie} nats," if ties else ""
    mean = sum(agreement.differences) / max(1, len(agreement.differences))
    largest = max(agreement.differences, default=0.0)
    detail = f"the largest of {len(agreement.differences)} is {largest:.3g}"
    limit = case.tolerance.mean
    return [
        none_of(
            f"prompts of other tokens than natively{how}", list(agreement.lengths), len(PROMPTS), "prompts", hint=hint
        ),
        none_of(f"greedy tokens other than natively{how}", beyond, agreement.steps, f"tokens{tied}", hint=hint),
        at_most(f"log-probabilities against native ones{how}", mean, limit, "nats", detail=detail, hint=hint),
    ]


def _measured(
    first: Visit, agreement: Agreement | None, how: str, second: Visit, alone: Agreement | None
) -> list[Check]:
    """What this machine's browser had, while whatever else ran on it ran."""
    found = []
    for name, visited, native in (("", first, agreement), (how, second, alone)):
        if native is None:
            continue
        detail = f"measured in Chromium {visited.version}; natively {native.tokens_per_s:.1f} with as many threads"
        threads = f"{visited.threads} threads" if visited.threads > 1 else "one thread"
        found.append(at_least(f"speed of {threads}{name}", visited.tokens_per_s, 0, "tokens/s", detail=detail, hint=""))
        tab = (
            "not told by the browser"
            if visited.memory_mib is None
            else f"the browser counts {visited.memory_mib:.0f} for the tab"
        )
        found.append(
            at_least(f"memory of the browser's processes{name}", visited.rss_mib, 0, "MiB", detail=tab, hint="")
        )
    return found
