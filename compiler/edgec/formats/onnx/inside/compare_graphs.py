"""Runs in the toolchain `optimum`: a user's own graph and an artifact made of it, on the same samples."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import onnxruntime
from faults import or_fault
from graph_file import openable
from graph_run import Reference, compare


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`reference`, `model`: files; `scratch`: a folder; `samples`: files of samples; `threads`.

    Answers `outputs`: the sums of each; `different`: how many different answers the reference gave; `time_share`.
    """
    answer: dict[str, Any] = or_fault(_run, request, progress)
    return answer


def _run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    scratch, threads = Path(request["scratch"]), int(request["threads"])
    os.chdir(scratch)
    progress(0, 2, "models", "the source")
    reference = Reference(openable(Path(request["reference"]), scratch), request["samples"], scratch, threads)
    progress(1, 2, "models", "the artifact")
    outputs, seconds = compare(reference, Path(request["model"]), threads)
    return {
        "outputs": outputs,
        "different": reference.different,
        "time_share": seconds / max(reference.seconds, 1e-9),
        "versions": {"onnxruntime": onnxruntime.__version__},
    }
