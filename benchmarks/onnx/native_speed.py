"""Runs in the toolchain `optimum`: the speed of several ONNX encoders beside each other, in turns.

Rule: every turn runs each model on the same texts once, the first of a turn changing from turn to turn, so that what
else the machine does meets all of them; what counts is the CPU time of a turn, and medians over turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import onnxruntime


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`models`: name -> file; `texts`: lists of token ids; `turns`; `threads`; `batch`: texts at once.

    Answers, of each model: medians of CPU and wall seconds of a turn, and of their share of the first model's.
    """
    batches = [
        _feed(request["texts"][i : i + request["batch"]]) for i in range(0, len(request["texts"]), request["batch"])
    ]
    models = {name: _session(path, request["threads"]) for name, path in request["models"].items()}
    names = list(models)
    for name in names:
        _turn(models[name], batches)
    cpu: dict[str, list[float]] = {name: [] for name in names}
    wall: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(request["turns"]):
        progress(turn, request["turns"], "turns")
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            started, used = time.perf_counter(), time.process_time()
            _turn(models[name], batches)
            cpu[name].append(time.process_time() - used)
            wall[name].append(time.perf_counter() - started)
    first = names[0]
    return {
        "rows": {
            name: {
                "cpu_s": median(cpu[name]),
                "wall_s": median(wall[name]),
                "cpu_share": median(a / b for a, b in zip(cpu[name], cpu[first], strict=True)),
                "wall_share": median(a / b for a, b in zip(wall[name], wall[first], strict=True)),
                "per_s": len(request["texts"]) / median(wall[name]),
            }
            for name in names
        }
    }


def _session(path: str, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait take CPU time from whatever else runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _feed(texts: list[list[int]]) -> dict[str, Any]:
    ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def _turn(session: Any, batches: list[dict[str, Any]]) -> None:
    names = {value.name for value in session.get_inputs()}
    for given in batches:
        session.run(None, {name: value for name, value in given.items() if name in names})
