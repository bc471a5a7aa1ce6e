"""Time to first token and tokens per second of one GGUF: through tritonserver and through xllamacpp's own HTTP server.

Both servers run at the same time on the same machine with the same threads; their turns alternate, so that whatever
else the machine does meets both. Prints a markdown table and writes the same as JSON.

Usage: python benchmarks/triton/run.py UNPACKED_BUNDLE [--turns 20] [--tokens 100] [--output results/NAME.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peer import own_server

from edgec.events import silent
from edgec.store.paths import cache_home
from edgec.toolchain.environments import find_toolchain, install
from edgec.trial.http_client import HttpClient
from edgec.trial.triton_client import TritonModel
from edgec.trial.triton_server import triton_server

_PROMPT = "Number {}: write about the files of a folder, and what a program does with them when it starts."
_STREAMS = (1, 8)


@dataclass(frozen=True)
class Turn:
    """One streamed answer. `first_s`: until its first token; `tokens_s`: tokens per second after that."""

    first_s: float
    tokens_s: float


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    repository = args.bundle / "triton" / "models"
    name = next(path.parent.name for path in repository.glob("*/config.pbtxt"))
    gguf = min((args.bundle / "gguf").glob("*.gguf"))
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder)
        environment = install(
            find_toolchain("triton"), cache_home() / "toolchains", offline=False, report=silent, log=log / "install"
        )
        with triton_server(environment, repository, models=[name], log=log / "triton") as server:
            model = TritonModel(server, name)
            parameters = model.parameters()
            context = int(json.loads((repository / name / "1" / "version.json").read_bytes())["context"])
            threads = min(int(parameters["threads"]), len(os.sched_getaffinity(0)))
            sizes = (int(parameters["parallel"]), context, threads)
            with own_server(environment.python, gguf, sizes, log / "own") as own:
                asks = {
                    "triton": lambda n: via_triton(model, n, args.tokens),
                    "own": lambda n: via_own(own, n, args.tokens),
                }
                result = {str(streams): measured(asks, streams, args.turns) for streams in _STREAMS}
    facts = {
        "gguf": gguf.name,
        "gguf_bytes": gguf.stat().st_size,
        "xllamacpp": environment.versions["xllamacpp"],
        "tritonserver": "2.51.0 (nvidia-pytriton " + environment.versions["nvidia-pytriton"] + ")",
        "edgec": version("edgec"),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads,
        "load_average": os.getloadavg(),
        "turns": args.turns,
        "tokens": args.tokens,
    }
    show(facts, result)
    if args.output:
        args.output.write_text(json.dumps({**facts, "streams": result}, indent=2) + "\n", encoding="utf-8")


def measured(asks: dict[str, Callable[[int], Turn]], streams: int, turns: int) -> dict[str, dict[str, float]]:
    """Medians over all streams of all turns, for each server."""
    seen: dict[str, list[Turn]] = {who: [] for who in asks}
    with ThreadPoolExecutor(streams) as clients:
        for turn in range(turns + 1):
            for who, ask in asks.items():
                answers = list(clients.map(ask, range(turn * streams, (turn + 1) * streams)))
                # The first turn finds cold caches.
                seen[who] += answers if turn else []
    return {
        who: {
            "first_ms": statistics.median(t.first_s for t in answers) * 1000,
            "tokens_s": statistics.median(t.tokens_s for t in answers),
        }
        for who, answers in seen.items()
    }


def via_triton(model: TritonModel, number: int, tokens: int) -> Turn:
    """One answer of tritonserver."""
    asked = {"text_input": _PROMPT.format(number), "max_tokens": tokens, "temperature": 0.0}
    began = time.perf_counter()
    with model.events(**asked) as events:
        return _timed(began, (event["text_output"] for event in events))


def via_own(server: HttpClient, number: int, tokens: int) -> Turn:
    """One answer of llama.cpp's server."""
    asked = {"prompt": _PROMPT.format(number), "max_tokens": tokens, "temperature": 0.0, "stream": True}
    began = time.perf_counter()
    with server.events("/v1/completions", asked) as events:
        return _timed(began, (event["choices"][0]["text"] for event in events if event.get("choices")))


def _timed(began: float, texts: Iterator[str]) -> Turn:
    arrivals = [time.perf_counter() for text in texts if text]
    return Turn(arrivals[0] - began, (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]))


def show(facts: dict[str, Any], result: dict[str, dict[str, dict[str, float]]]) -> None:
    """The table."""
    print(", ".join(f"{key}: {value}" for key, value in facts.items()))
    print("| streams | first token, Triton | own server | ratio | tokens/s, Triton | own server | ratio |")
    print("|---|---|---|---|---|---|---|")
    for streams, who in result.items():
        a, b = who["triton"], who["own"]
        print(
            f"| {streams} | {a['first_ms']:.1f} ms | {b['first_ms']:.1f} ms | {a['first_ms'] / b['first_ms']:.2f} "
            f"| {a['tokens_s']:.1f} | {b['tokens_s']:.1f} | {a['tokens_s'] / b['tokens_s']:.2f} |"
        )


if __name__ == "__main__":
    main()
