"""Runs in the toolchain `optimum`: a user's own graph on samples, beside outputs that were recorded elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy as np
import onnxruntime
from faults import or_fault
from graph_run import OutputSums, Reference


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`reference`: the user's file; `recorded`: a file of arrays `<sample>/<output>`; `samples`: files; `scratch`: a
    folder; `threads`.

    Answers `outputs`: the sums of each; `different`: how many different answers the reference gave.
    """
    answer: dict[str, Any] = or_fault(_run, request, progress)
    return answer


def _run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    scratch = Path(request["scratch"])
    os.chdir(scratch)
    progress(0, 1, "models", "the source")
    reference = Reference(Path(request["reference"]), request["samples"], scratch, int(request["threads"]))
    sums = [OutputSums(name) for name in reference.names]
    with np.load(request["recorded"], allow_pickle=False) as arrays:
        wanted = {f"{sample}/{output}" for sample in range(len(request["samples"])) for output in range(len(sums))}
        if set(arrays.files) != wanted:
            raise ValueError("other outputs, or other samples, were recorded")
        for number, outputs in enumerate(reference.outputs()):
            for index, (one, want) in enumerate(zip(sums, outputs, strict=True)):
                one.add(want, arrays[f"{number}/{index}"])
    return {
        "outputs": [one.answer() for one in sums],
        "different": reference.different,
        "versions": {"onnxruntime": onnxruntime.__version__},
    }
