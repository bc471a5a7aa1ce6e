"""A headless Chromium on the site, driven by Playwright in its toolchain: what the page showed and computed.

Rule: what the page says of itself is data here, judged elsewhere; a browser that does not start is a ToolError.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgec.errors import ToolError
from edgec.events import Reporter
from edgec.toolchain.environments import Environment, run_json
from edgec.trial.folders import trial_folder

CHROMIUM = "EDGEC_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SCRIPT = Path(__file__).parent / "inside" / "browse.py"
_TIMEOUT_S = 1800.0
# Chromium with the page of a model of 6 MiB, measured, rounded up.
_BROWSER_MIB = 700


@dataclass(frozen=True)
class Trace:
    """A greedy continuation in the browser. `steps`: the token that was taken, and the likeliest with their logs."""

    prompt: str
    prompt_tokens: int
    steps: tuple[tuple[int, tuple[tuple[int, float], ...]], ...]
    ended: bool


@dataclass(frozen=True)
class Embedding:
    """A text in the browser: its tokens and its vector, of length 1."""

    ids: tuple[int, ...]
    vector: tuple[float, ...]


@dataclass(frozen=True)
class Task:
    """What a visit asks the model for: a language model continues `prompts` by `max_tokens`, telling the `top`
    likeliest tokens of each step; an encoder embeds `texts`, two at least, and tokenizes the texts of `corpus`.
    """

    prompts: tuple[str, ...] = ()
    max_tokens: int = 0
    top: int = 0
    texts: tuple[str, ...] = ()
    corpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Visit:
    """What came of one visit. `error`: what the page said went wrong; `shown`: its texts by the elements' names.

    `isolated`: whether the browser shares memory with threads; `end_tokens`: those that end a text; `tokenized`: the
    ids of the corpus; `complaints`: the console's and the page's errors; `elsewhere`: requests to other servers;
    `per_s`: tokens, or sentences, in a second, as the page says; `rss_mib`: of all its processes.
    """

    version: str
    error: str | None
    isolated: bool
    threads: int
    cores: int
    shown: Mapping[str, str]
    answer: str
    traces: tuple[Trace, ...]
    end_tokens: tuple[int, ...]
    embeddings: tuple[Embedding, ...]
    tokenized: tuple[tuple[int, ...], ...]
    complaints: tuple[str, ...]
    elsewhere: tuple[str, ...]
    per_s: float
    memory_mib: float | None
    rss_mib: float
    load_s: float


def find_chromium() -> Path:
    """The browser: the one named in `EDGEC_CHROMIUM`, else one on PATH. Raises ToolError."""
    named = os.environ.get(CHROMIUM)
    if named:
        path = shutil.which(named)
        if path is None:
            raise ToolError.of(f"{CHROMIUM} names no program", place=named, hint="set it to a Chromium's path")
        return Path(path)
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise ToolError.of(
            "no Chromium is on PATH",
            hint=f"install it (Debian: `apt-get install chromium`), or set {CHROMIUM} to the path of one",
        )
    return Path(found)


def visit(
    environment: Environment,
    chromium: Path,
    page: str,
    task: Task,
    *,
    model_mib: int,
    log: Path,
    screenshot: Path,
    report: Reporter,
) -> Visit:
    """Opens `page`, loads the model and gives it the task. Raises ToolError when the browser fails."""
    with trial_folder("browser") as profile:
        request = {
            **asdict(task), "chromium": str(chromium), "page": page,
            "profile": str(profile), "screenshot": str(screenshot),
        }  # fmt: skip
        found = run_json(
            environment, _SCRIPT, request, timeout_s=_TIMEOUT_S, log=log, memory_mib=_BROWSER_MIB + model_mib,
            env={"HOME": str(profile)}, report=report,
        )  # fmt: skip
    return Visit(
        version=found["version"],
        error=found["error"],
        isolated=found["isolated"],
        threads=found["threads"],
        cores=found["cores"],
        shown=found["shown"],
        answer=found["answer"],
        traces=tuple(_trace(prompt, trace) for prompt, trace in zip(task.prompts, found["traces"], strict=False)),
        end_tokens=tuple(found["end_tokens"]),
        embeddings=tuple(Embedding(tuple(e["ids"]), tuple(e["vector"])) for e in found["embeddings"]),
        tokenized=tuple(tuple(ids) for ids in found["tokenized"]),
        complaints=tuple(found["complaints"]),
        elsewhere=tuple(found["elsewhere"]),
        per_s=found["per_s"],
        memory_mib=found["memory_mib"],
        rss_mib=found["rss_mib"],
        load_s=found["load_s"],
    )


def _trace(prompt: str, found: Mapping[str, Any]) -> Trace:
    steps = ((step["id"], tuple((token, log) for token, log in step["top"])) for step in found["steps"])
    return Trace(prompt, found["promptTokens"], tuple(steps), found["finish"] == "stop")
