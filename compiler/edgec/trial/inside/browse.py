"""Runs in the toolchain's environment: opens a bundle's page in a Chromium, and does what a visitor does.

Rule: it judges nothing; it says what the page showed, what the browser complained of, and what the model computed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page, sync_playwright

_FLAGS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--no-first-run",
    # Else the browser measures memory when it next collects garbage.
    "--enable-blink-features=ForceEagerMeasureMemory",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_SHOWN = ("threads", "storage", "error", "status", "speed", "memory", "count", "runtime")
_STATES = "() => ['asked', 'ready', 'failed'].includes(document.body?.dataset.state)"
_DONE = "() => ['ready', 'failed'].includes(document.body?.dataset.state)"
_MEASURED = "() => !['measuring', 'not measured yet'].includes(document.getElementById('memory').textContent)"
_EMBED = "async (text) => { const { ids, vector } = await edgec.embed(text); return { ids, vector: [...vector] }; }"
_TOKENIZE = "(texts) => texts.map((text) => edgec.tokenize(text))"
_TRACE = "([prompt, maxTokens, top]) => edgec.trace(prompt, { maxTokens, top })"
_STEP_S = 600


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """One visit; see `edgec.trial.web_browser.Visit` for what it returns."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            request["profile"], executable_path=request["chromium"], headless=True, args=list(_FLAGS),
            viewport={"width": 1000, "height": 1000}, timeout=120_000,
        )  # fmt: skip
        context.set_default_timeout(_STEP_S * 1000)
        page = context.pages[0] if context.pages else context.new_page()
        found = {**_nothing(), "version": _version(page)}
        origin = re.match(r"https?://[^/]+/", request["page"])
        own = (origin[0] if origin else request["page"], "blob:", "data:")
        page.on("console", lambda m: found["complaints"].append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: found["complaints"].append(str(e)))
        page.on("request", lambda r: None if r.url.startswith(own) else found["elsewhere"].append(r.url))
        page.goto(request["page"])
        page.wait_for_function(_STATES)
        found["isolated"] = page.evaluate("() => crossOriginIsolated")
        if _state(page) == "asked":
            try:
                _use(page, request, found, progress)
            except Error as error:
                found["error"] = error.message
        found["shown"] = {name: page.inner_text(f"#{name}") for name in _SHOWN}
        if _state(page) == "failed":
            found["error"] = found["shown"]["error"] or found["error"]
        page.screenshot(path=request["screenshot"], full_page=True)
        context.close()
    return found


def _nothing() -> dict[str, Any]:
    return {
        "error": None, "threads": 0, "cores": 0, "answer": "", "traces": [], "end_tokens": [], "embeddings": [],
        "tokenized": [], "complaints": [], "elsewhere": [], "per_s": 0.0, "memory_mib": None, "rss_mib": 0.0,
        "load_s": 0.0, "isolated": False,
    }  # fmt: skip


def _use(page: Page, request: dict[str, Any], found: dict[str, Any], progress: Callable[..., None]) -> None:
    progress(0, 1, "steps", "the page loads the model")
    page.click("#load")
    page.wait_for_function(_DONE)
    if _state(page) != "ready":
        return
    found["cores"] = page.evaluate("() => navigator.hardwareConcurrency || 1")
    found["threads"] = page.evaluate("() => edgec.threadCount()")
    found["load_s"] = page.evaluate("() => edgec.loadMs / 1000")
    if request["texts"]:
        _embed(page, request, found, progress)
    else:
        _write(page, request, found, progress)
    if _state(page) != "ready":
        return
    found["answer"] = page.inner_text("#answer")
    page.wait_for_function(_MEASURED)
    speed = re.match(r"([\d.]+) (?:tokens|sentences)/s", page.inner_text("#speed"))
    found["per_s"] = float(speed[1]) if speed else 0.0
    measured = re.match(r"([\d.]+) MiB, as", page.inner_text("#memory"))
    found["memory_mib"] = float(measured[1]) if measured else None
    found["rss_mib"] = sum(_pss_kib(process) for process in _descendants(os.getpid())) / 1024


def _embed(page: Page, request: dict[str, Any], found: dict[str, Any], progress: Callable[..., None]) -> None:
    texts = request["texts"]
    progress(0, len(texts), "texts", "embedded in the browser")
    found["tokenized"] = page.evaluate(_TOKENIZE, request["corpus"])
    for done, text in enumerate(texts):
        found["embeddings"].append(page.evaluate(_EMBED, text))
        progress(done + 1, len(texts), "texts", "embedded in the browser")
    # As a person does it: types and clicks.
    page.fill("#one", texts[0])
    page.fill("#other", texts[1])
    page.click("#run")
    page.wait_for_function(_DONE)


def _write(page: Page, request: dict[str, Any], found: dict[str, Any], progress: Callable[..., None]) -> None:
    prompts = request["prompts"]
    found["end_tokens"] = page.evaluate("() => edgec.wllama.getLoadedContextInfo().list_tokens_eog")
    for done, prompt in enumerate(prompts):
        progress(done, len(prompts), "prompts", "greedy tokens in the browser")
        found["traces"].append(page.evaluate(_TRACE, [prompt, request["max_tokens"], request["top"]]))
    # As a person does it: types and clicks.
    if page.query_selector("#chat") is not None:
        page.uncheck("#chat")
    page.fill("#prompt", prompts[0])
    page.fill("#tokens", str(request["max_tokens"]))
    page.click("#run")
    page.wait_for_function(_DONE)


def _state(page: Page) -> str:
    return str(page.evaluate("() => document.body.dataset.state"))


def _version(page: Page) -> str:
    browser = page.context.browser
    agent = page.evaluate("() => navigator.userAgent") if browser is None else browser.version
    found = re.search(r"Chrome/([\d.]+)", agent)
    return found[1] if found else str(agent)


def _descendants(parent: int) -> Iterator[int]:
    """The processes of the browser; Playwright's own driver is left out."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == parent:
            process = int(path.parent.name)
            if "(node)" not in stat:
                yield process
            yield from _descendants(process)


def _pss_kib(process: int) -> int:
    """What a process holds, its part of what it shares; 0 for one that ended."""
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) if found else 0
