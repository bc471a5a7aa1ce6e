"""Runs in the toolchain `playwright`: several sites of one encoder in one Chromium, embedding the same texts in turns.

Rule: as `native_speed`: every turn visits each site once, another one first each time; medians over turns count.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from playwright.sync_api import sync_playwright

_DONE = "() => ['ready', 'failed'].includes(document.body?.dataset.state)"
# Wall time: a page does not know its CPU time.
_TURN = """async (texts) => {
  const began = performance.now();
  for (const text of texts) await edgec.embed(text);
  return (performance.now() - began) / 1000;
}"""


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`chromium`; `profile`: a folder; `pages`: name -> address; `texts`; `turns`.

    Answers, of each site: medians of wall seconds of a turn, and of their share of the first site's.
    """
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            request["profile"],
            executable_path=request["chromium"],
            headless=True,
            args=["--disable-gpu", "--disable-background-networking", "--no-first-run"],
        )
        context.set_default_timeout(600_000)
        pages = {}
        for name, address in request["pages"].items():
            pages[name] = context.new_page()
            pages[name].goto(address)
            pages[name].wait_for_selector("#load")
            pages[name].click("#load")
            pages[name].wait_for_function(_DONE)
        names = list(pages)
        threads = {name: pages[name].evaluate("() => edgec.threadCount()") for name in names}
        wall: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(-1, request["turns"]):
            progress(turn + 1, request["turns"] + 1, "turns")
            shift = max(turn, 0) % len(names)
            for name in names[shift:] + names[:shift]:
                pages[name].bring_to_front()
                seconds = pages[name].evaluate(_TURN, request["texts"])
                # The first turn warms up.
                if turn >= 0:
                    wall[name].append(seconds)
        version = context.browser.version if context.browser else "unknown"
        version = pages[names[0]].evaluate("() => navigator.userAgent.match(/Chrome.([0-9.]+)/)[1]") or version
        context.close()
    first = names[0]
    rows = {
        name: {
            "wall_s": median(wall[name]),
            "wall_share": median(a / b for a, b in zip(wall[name], wall[first], strict=True)),
            "per_s": len(request["texts"]) / median(wall[name]),
            "threads": threads[name],
        }
        for name in names
    }
    return {"rows": rows, "chromium": version}
