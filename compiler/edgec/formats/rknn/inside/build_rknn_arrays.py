"""Runs in the toolchain `rknn`: a float32 ONNX graph whose samples are arrays to one .rknn file, simulated before it is
written.

Rule: the simulator runs what this process has built, for it cannot load a file again; a file whose model was not run
here is never left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))
# An output's sums are those of every graph.
sys.path.append(str(Path(__file__).parents[2] / "onnx" / "inside"))

import numpy as np
from faults import or_fault
from graph_run import NoNumbers, OutputSums
from rknn.api import RKNN
from toolkit_steps import compiled, in_onnxruntime, prepare, succeeded, versions

_REPORTED = 4
_IMAGE_DIMENSIONS, _CLASS_DIMENSIONS = 4, 2


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`model`: the float32 file; `scratch`: a folder; `out`, `outputs`: files to write; `platform`; `shapes`: of the
    inputs by name; `route`; `ranges`, `judged`, `proven`: .npz files, an array for each input; `by_channel`; `threads`.

    Answers agreement with the float32 graph on `judged` (`by_channel`: the sums of each output), and versions;
    `outputs` gets the model's answers to `proven`: the array `<sample>/<output>` for each.
    """
    answer: dict[str, Any] = or_fault(_run, request, progress)
    return answer


def _run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    os.umask(0o022)
    # The toolkit leaves files where it runs.
    os.chdir(request["scratch"])
    names = prepare(Path(request["model"]), request["route"]["mask"])
    shapes = {name: request["shapes"][name] for name in names}
    progress(0, 3, "steps", "compiling for the NPU")
    toolkit = RKNN(verbose=False)
    compiled(toolkit, request["route"], request["platform"], shapes, [_sample(path) for path in request["ranges"]])
    progress(1, 3, "steps", "simulating")
    succeeded(toolkit.init_runtime(), "init_runtime")
    agree = _sums if request["by_channel"] else _agreement
    answer = agree(toolkit, request, names) if request["judged"] else {}
    arrays = {}
    for number, path in enumerate(request["proven"]):
        for index, output in enumerate(_simulated(toolkit, names, _sample(path))):
            arrays[f"{number}/{index}"] = output
        if number % _REPORTED == 0:
            progress(number, len(request["proven"]), "samples", "simulating")
    progress(2, 3, "steps", "writing the model")
    succeeded(toolkit.export_rknn(request["out"]), "export_rknn")
    toolkit.release()
    with open(request["outputs"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, **arrays)
    return {**answer, "versions": versions()}


def _sample(path: str) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _simulated(toolkit: Any, names: Sequence[str], sample: dict[str, Any]) -> list[Any]:
    given = [sample[name] for name in names]
    # Images lie as the graph has them; the toolkit would take the channels to be the last.
    formats = ["nchw" if array.ndim == _IMAGE_DIMENSIONS else "undefined" for array in given]
    is_image = _IMAGE_DIMENSIONS in {array.ndim for array in given}
    outputs = toolkit.inference(inputs=given, data_format=formats) if is_image else toolkit.inference(inputs=given)
    if not outputs or any(output is None for output in outputs):
        raise SystemExit("rknn-toolkit2: the simulator gave no output")
    return [np.asarray(output, np.float32) for output in outputs]


def _agreement(toolkit: Any, request: dict[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Cosines with the float32 graph as it came, of each sample that of its worst output; and, of one row of classes,
    the share of samples with the same first choice."""
    session = in_onnxruntime(request["model"], int(request["threads"]))
    found, first = [], []
    for path in request["judged"]:
        sample = _sample(path)
        wanted = session.run(None, sample)
        got = _simulated(toolkit, names, sample)
        found.append(min(_cosine(a, b) for a, b in zip(wanted, got, strict=True)))
        if len(wanted) == 1 and wanted[0].ndim == _CLASS_DIMENSIONS:
            first.append(int(np.argmax(wanted[0])) == int(np.argmax(got[0])))
    if not np.isfinite(found).all():
        raise SystemExit("rknn-toolkit2: the simulator gave values that are not finite")
    shares = {"first": float(np.mean(first))} if first else {}
    return {"mean_cosine": float(np.mean(found)), "min_cosine": float(np.min(found)), **shares}


def _sums(toolkit: Any, request: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What each output sums up to beside the float32 graph's: an output may hold things of different size."""
    session = in_onnxruntime(request["model"], int(request["threads"]))
    sums = [OutputSums(value.name) for value in session.get_outputs()]
    no_numbers = NoNumbers([value.name for value in session.get_outputs()])
    for path in request["judged"]:
        sample = _sample(path)
        wanted = session.run(None, sample)
        no_numbers.add(wanted)
        no_numbers.refuse()
        for one, want, got in zip(sums, wanted, _simulated(toolkit, names, sample), strict=True):
            one.add(want, got)
    return {"sums": [one.answer() for one in sums]}


def _cosine(wanted: Any, got: Any) -> float:
    a, b = (np.ravel(values).astype(np.float64) for values in (wanted, got))
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-30))
