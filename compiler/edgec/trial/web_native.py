"""Native llama.cpp on the same weights, as the measure of what the browser computed.

Rule: it follows the browser's tokens, so that one near tie does not spoil the comparison of all that comes after it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgec
from edgec.events import Reporter
from edgec.toolchain.dialogue import run_script
from edgec.toolchain.run import Answer
from edgec.toolchain.surroundings import for_tool
from edgec.trial.web_browser import Trace

_SCRIPT = Path(__file__).parent / "inside" / "native_llama.py"
_TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Agreement:
    """The browser against native llama.cpp. All differences are of natural logarithms of probabilities.

    `lengths`: prompts that are other tokens there; `steps`: tokens compared; `misses`: tokens that native llama.cpp
    would not have taken, with how much likelier its own was; `differences`: of the likeliest tokens of every step.
    """

    runtime: str
    lengths: tuple[str, ...]
    steps: int
    misses: tuple[tuple[str, float], ...]
    differences: tuple[float, ...]
    tokens_per_s: float


def compare_natively(
    model: Path,
    traces: Sequence[Trace],
    *,
    end_tokens: Sequence[int],
    context: int,
    threads: int,
    max_tokens: int,
    logs: Path,
    report: Reporter,
) -> Agreement:
    """Runs the traces in native llama.cpp. Raises ToolError."""
    package = str(Path(edgec.__file__).parents[1])
    request = {
        "package": package, "model": str(model), "context": context, "threads": threads,
        "max_tokens": max_tokens, "logs": str(logs), "traces": [_told(t, end_tokens) for t in traces],
    }  # fmt: skip
    answer = Answer("try web: native llama.cpp", report)
    log = logs / "web-native.log"
    env = {**for_tool(os.environ, str(Path(sys.executable).parent)), "PYTHONPATH": package}
    run_script(Path(sys.executable), _SCRIPT, request, on_line=answer.take, log=log, timeout_s=_TIMEOUT_S, env=env)
    return _agreement(traces, answer.result(_SCRIPT, log))


def _told(trace: Trace, end_tokens: Sequence[int]) -> dict[str, Any]:
    steps = [{"id": token, "top": [list(pair) for pair in top]} for token, top in trace.steps]
    return {"prompt": trace.prompt, "steps": steps, "end_tokens": list(end_tokens)}


def _agreement(traces: Sequence[Trace], found: Mapping[str, Any]) -> Agreement:
    lengths, misses, differences = [], [], []
    for trace, native in zip(traces, found["traces"], strict=True):
        if trace.prompt_tokens != native["prompt_tokens"]:
            lengths.append(f"{trace.prompt!r}: {trace.prompt_tokens}, natively {native['prompt_tokens']}")
        for index, (step, own) in enumerate(zip(trace.steps, native["steps"], strict=True)):
            token, top = step
            if own["choice"] != token:
                where = f"{trace.prompt!r}, token {index + 1}: {token}, natively {own['choice']}"
                misses.append((where, own["choice_log"] - own["taken_log"]))
            differences += [abs(here - there) for (_, here), (_, there) in zip(top, own["top"], strict=True)]
        if trace.ended and native["end_gap"] > 0:
            misses.append((f"{trace.prompt!r}: ended after {len(trace.steps)} tokens", native["end_gap"]))
    return Agreement(
        runtime=found["runtime"],
        lengths=tuple(lengths),
        steps=sum(len(trace.steps) for trace in traces),
        misses=tuple(misses),
        differences=tuple(differences),
        tokens_per_s=found["tokens_per_s"],
    )
