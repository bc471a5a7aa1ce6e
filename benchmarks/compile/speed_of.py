"""How fast llama.cpp runs several GGUFs of one model, in turns on one thread: tokens per second as shares of the first.

Rule: the first of a turn changes from turn to turn; what counts is CPU time, and medians over turns. All files are read
from disk, as after a device's start. Where their pages then lie in memory makes differences of several percent: a copy
of the first file, given as one more, shows how large they are.

Prints JSON: of each file `prompt` and `writing`: `per_s`, tokens per CPU second, and `share`, of the first file's.

Usage: python speed_of.py GGUF GGUF... [--turns N]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median

from edgec.formats.gguf.runtime.binding import load
from edgec.formats.gguf.runtime.session import Session, Settings

_PROMPT, _WRITTEN = 256, 32


def main() -> None:
    """Opens all, runs all in turns."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--turns", type=int, default=9)
    given = parser.parse_args()
    for path in given.files:
        forget(path)
    lib = load()
    settings = {"n_ctx": 512, "n_batch": 0, "threads": 1, "embeddings": False, "collect": False}
    sessions = [Session(lib, Settings(path, **settings)) for path in given.files]
    cpu_s: dict[str, list[list[float]]] = {"prompt": [], "writing": []}
    for turn in range(-1, given.turns):
        found = {what: [0.0] * len(sessions) for what in cpu_s}
        for step in range(len(sessions)):
            number = (step + turn) % len(sessions)
            found["prompt"][number] = cpu_seconds(sessions[number], _PROMPT, _PROMPT)
            found["writing"][number] = cpu_seconds(sessions[number], _WRITTEN, 1)
        # The first turn brings weights into memory.
        for what, seconds in found.items() if turn >= 0 else ():
            cpu_s[what].append(seconds)
    tokens = {"prompt": _PROMPT, "writing": _WRITTEN}
    result = {
        path: {
            what: {
                "per_s": round(tokens[what] / median(turn[number] for turn in turns), 1),
                "share": round(median(turn[0] / turn[number] for turn in turns), 3),
            }
            for what, turns in cpu_s.items()
        }
        for number, path in enumerate(given.files)
    }
    print(json.dumps(result))


def forget(path: str) -> None:
    """Takes a file's pages out of memory."""
    with Path(path).open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cpu_seconds(session: Session, tokens: int, at_once: int) -> float:
    """Of running so many tokens, whatever they are."""
    ids = [(7 * i + 11) % session.n_vocab for i in range(tokens)]
    began = time.process_time()
    for _ in session.logits(ids, tokens - 1, most=at_once):
        pass
    return time.process_time() - began


if __name__ == "__main__":
    main()
