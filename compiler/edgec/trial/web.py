"""Tries the web site of an unpacked bundle in a real Chromium, with the headers that give threads and without them.

Rule: what a visitor's browser computes is compared with the native runtime on the same weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgec.errors import InputError
from edgec.events import ActionFinished, ActionStarted, Reporter, silent
from edgec.prove.model import Check
from edgec.toolchain.environment import Environment
from edgec.trial.web_encoder import encoder_checks, encoder_task
from edgec.trial.web_page import SETTINGS, Case, fallback_check, page_checks, thread_checks, visited
from edgec.trial.web_server import web_site
from edgec.trial.web_writer import TASK, writer_checks

_ACTION = "try web"
_ENCODERS = ("onnx",)
_ALONE = " without headers"


def try_web(
    bundle_folder: Path,
    *,
    chromium: Path,
    environment: Environment,
    environment_of: Callable[[str], Environment],
    report: Reporter = silent,
    logs: Path,
) -> tuple[str, tuple[Check, ...]]:
    """Serves the unpacked bundle on 127.0.0.1 and visits it twice; the browser's version, and what held.

    `environment`: with Playwright; `environment_of`: installs the toolchain of a runtime that is compared with. Logs
    and pictures of the page are `web*.log` and `web*.png` in `logs`. Raises InputError when the bundle has no web
    site, ToolError when this machine cannot run the browser.
    """
    settings = site_settings(bundle_folder)
    case = Case(bundle_folder, settings, environment, chromium, report, logs, environment_of)
    encodes = settings["format"] in _ENCODERS
    task, compared = (encoder_task(case), encoder_checks) if encodes else (TASK, writer_checks)
    began = time.monotonic()
    report(ActionStarted(_ACTION, "trial", f"visit the site of {settings['title']} in {case.chromium.name}"))
    with web_site(bundle_folder, isolated=True) as site:
        first = visited(case, site, "web", task)
        checks = [*page_checks("", first, site, case), *thread_checks(first, case), *compared("", first, case)]
    with web_site(bundle_folder, isolated=False) as site:
        second = visited(case, site, "web-single", task)
        checks += [*page_checks(_ALONE, second, site, case), fallback_check(second, case)]
        checks += compared(_ALONE, second, case)
    report(ActionFinished(_ACTION, "trial", cached=False, wall_s=time.monotonic() - began))
    return first.version, tuple(checks)


def site_settings(bundle: Path) -> Mapping[str, Any]:
    """What the site of an unpacked bundle loads. Raises InputError when there is none."""
    path = bundle / SETTINGS
    if not path.is_file():
        raise InputError.of(
            "the bundle holds no web site",
            hint="language models and sentence encoders for `wasm-browser` have one; else verify without --run web",
        )
    settings: Mapping[str, Any] = json.loads(path.read_bytes())
    return settings
