"""Runs in edgec's own Python, in a process of its own: what native llama.cpp says to the browser's tokens.

Rule: `edgec verify` needs neither numpy nor llama.cpp to be imported; who tries a web site needs both, and only here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """For each trace the native prompt's length and, per step, the native choice and logs of the named tokens."""
    sys.path.insert(0, request["package"])
    from edgec.formats.gguf.runtime.client import LlamaProcess  # noqa: PLC0415 - the path is known only now

    model = Path(request["model"])
    with LlamaProcess(model, n_ctx=request["context"], threads=request["threads"], logs=Path(request["logs"])) as llama:
        traces = []
        for done, trace in enumerate(request["traces"]):
            progress(done, len(request["traces"]), "prompts", "the same in native llama.cpp")
            traces.append(_compared(llama, trace))
        prompt = llama.tokenize(request["traces"][0]["prompt"], True, True)
        llama.generate(prompt, 1)
        began = time.monotonic()
        written = llama.generate(prompt, request["max_tokens"])
        seconds = time.monotonic() - began
        runtime = llama.info().runtime
    return {"runtime": runtime, "traces": traces, "tokens_per_s": len(written) / seconds if written else 0.0}


def _compared(llama: Any, trace: dict[str, Any]) -> dict[str, Any]:
    import numpy as np  # noqa: PLC0415

    prompt = llama.tokenize(trace["prompt"], True, True)
    taken = [step["id"] for step in trace["steps"]]
    # One row more than steps: what comes after the last of them.
    rows = llama.logits([*prompt, *taken], first=len(prompt) - 1).astype(np.float64)
    logs = rows - rows.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    steps = [
        {
            "choice": int(row.argmax()),
            "choice_log": float(row.max()),
            "taken_log": float(row[step["id"]]),
            "top": [[token, float(row[token])] for token, _ in step["top"]],
        }
        for row, step in zip(logs, trace["steps"], strict=False)
    ]
    return {"prompt_tokens": len(prompt), "steps": steps, "end_gap": _end_gap(logs[-1], taken, trace["end_tokens"])}


def _end_gap(after: Any, taken: list[int], end_tokens: list[int]) -> float:
    """How much likelier any token is than an end of the text; 0 where the end is among the tokens taken."""
    if taken[-1:] and taken[-1] in end_tokens:
        return 0.0
    return float(after.max() - max((after[token] for token in end_tokens), default=after.max()))
