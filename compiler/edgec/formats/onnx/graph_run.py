"""Runs the toolchain `optimum` on a user's graph: prepares it, makes candidates of it, compares two of them.

Rules: tools work in a scratch folder; a result is taken when it is what was planned, whatever the exit code; what a
killed run left is removed by the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgec.events import Reporter
from edgec.formats.candidates import Candidate, Demand
from edgec.formats.onnx.agreement import RESIZED, Agreement, agreement_of
from edgec.formats.onnx.faults import require_sound
from edgec.formats.onnx.graph import UserGraph
from edgec.formats.onnx.graph_routes import DATA_FILE, GRAPH_FILE, GraphLayout, GraphRoute
from edgec.formats.onnx.run import answer_of
from edgec.formats.samples import Feed, sample_digest
from edgec.formats.tool_files import keep, require_file, scratch_in
from edgec.store.atomic import explained
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

TOOLCHAIN = "optimum"
_INSIDE = Path(__file__).parent / "inside"
PREPARE_SCRIPT = _INSIDE / "prepare_graph.py"
QUANTIZE_SCRIPT = _INSIDE / "quantize_graph.py"
COMPARE_SCRIPT = _INSIDE / "compare_graphs.py"
SAMPLES_FOLDER = ".samples"
_SCRATCH = ".graph-scratch"
_TIMEOUT_S = 1800
# A route that takes longer is told as failed, and the next is tried. Of weights: for each GiB, in float32.
_ROUTE_LIMIT_S, _WEIGHTS_LIMIT_S = 600, 600
# Sizes of candidates that differ by less than this share count as equal: their weights are the same 8 bits.
_SAME_SIZE = 0.05
# Python with onnxruntime alone took 75 MiB. Multiples of what goes in and out, measured on four nets of convolutions
# (docs/onnx.md): a run took up to 43 times as much, histograms of all activations up to 221; for others an estimate.
_FIXED_MIB = 400
_COPIES = 5
_RUN_ACTIVATIONS, _HELD_ACTIVATIONS = 40, 200
# Where a sample has more, no histogram is tried: 2.1 times the bytes of its activations was measured.
_MOST_HELD_MIB = 1280


@dataclass(frozen=True)
class Prepared:
    """The float32 graph as onnxruntime loaded it. `files`: names in the folder it was written to."""

    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any], ...]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """An artifact beside its source. `different`: answers that the source gave, the same one counted once."""

    agreement: Agreement
    different: int
    runtime: str
    peak_mib: int


def graph_memory_mib(graph: UserGraph) -> int:
    """What a run of the graph needs in the toolchain, beside that of another."""
    return _FIXED_MIB + (_COPIES * graph.float_bytes + _RUN_ACTIVATIONS * _ports(graph) >> 20)


def quantize_memory_mib(graph: UserGraph, routes: Sequence[GraphRoute]) -> int:
    """What making candidates needs: histograms are made of all activations of a sample."""
    histograms = any(route.method == "static" and route.ranges != "minmax" for route in routes)
    held = min(_MOST_HELD_MIB, _HELD_ACTIVATIONS * _ports(graph) >> 20) if histograms else 0
    return graph_memory_mib(graph) + held


def _ports(graph: UserGraph) -> int:
    return sum(port.least_bytes for port in (*graph.inputs, *graph.outputs))


def write_samples(feeds: Iterable[Feed], folder: Path) -> dict[str, str]:
    """Writes each sample into a file of its own, one at a time; returns digest by path."""
    written: dict[str, str] = {}
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for number, feed in enumerate(feeds):
            path = folder / f"{number:05d}.npz"
            np.savez(path, **feed)  # type: ignore[arg-type]
            written[str(path.resolve())] = sample_digest(feed)
    return written


def prepare_graph(
    environment: Environment,
    model: Path,
    graph: UserGraph,
    shapes: Mapping[str, Sequence[int]],
    out: Path,
    *,
    quantizes: bool,
    report: Reporter,
    log: Path,
    script: Path = PREPARE_SCRIPT,
) -> Prepared:
    """Writes the graph, its inputs fixed, into the folder `out`. Raises ToolError: died, or another graph;
    InputError: a model that does not load."""
    with scratch_in(out, _SCRATCH) as scratch:
        made = scratch / GRAPH_FILE
        data = DATA_FILE if graph.external else None
        request = {
            "model": str(model.resolve()),
            "out": str(made.resolve()),
            "beside": data is not None,
            "shapes": {name: list(shape) for name, shape in shapes.items()},
            "raise_opset": quantizes,
            "threads": usable_cores(),
        }
        answer = run_json(
            environment, script, request, timeout_s=_TIMEOUT_S, log=log, memory_mib=graph_memory_mib(graph),
            report=report,
        )  # fmt: skip
        require_sound(answer, graph.file)
        files = (GRAPH_FILE, *([] if data is None else [data]))
        for name in files:
            require_file(scratch / name, "the preparation", log)
        with answer_of(script, log):
            prepared = Prepared(tuple(answer["inputs"]), tuple(answer["outputs"]), files)
            for ports, planned in ((prepared.inputs, graph.inputs), (prepared.outputs, graph.outputs)):
                if [port["name"] for port in ports] != [port.name for port in planned]:
                    raise ValueError(f"other inputs or outputs: {[port['name'] for port in ports]}")
        for name in files:
            keep(scratch / name, out / name)
    return prepared


def quantize_graph(
    environment: Environment,
    model: Path,
    graph: UserGraph,
    layout: GraphLayout,
    out: Path,
    *,
    demand: Demand,
    samples: Sequence[str],
    report: Reporter,
    log: Path,
    script: Path = QUANTIZE_SCRIPT,
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Writes the chosen candidate as `layout.file` into `out`; returns it and all that were tried.

    `samples`: files; where there is a choice, ranges come from every other one and the rest judges. Raises ToolError:
    died, hung, wrote what it must not; ProofError: no route is good enough.
    """
    routes, has_choice = layout.routes, len(layout.routes) > 1
    route_limit_s = _ROUTE_LIMIT_S + (_WEIGHTS_LIMIT_S * graph.float_bytes >> 30)
    with scratch_in(out, _SCRATCH) as scratch:
        request = {
            "model": str(model.resolve()),
            "scratch": str(scratch.resolve()),
            "file": layout.file,
            "beside": layout.data_file is not None,
            "routes": [asdict(route) for route in routes],
            "route_limit_s": route_limit_s,
            "ranges": list(samples[::2] if has_choice else samples),
            "judged": list(samples[1::2] if has_choice else []),
            "threads": usable_cores(),
        }
        answer = run_json(
            environment, script, request, timeout_s=_TIMEOUT_S + route_limit_s * len(routes), log=log,
            memory_mib=quantize_memory_mib(graph, routes), report=report,
        )  # fmt: skip
        require_sound(answer, graph.file)
        with answer_of(script, log):
            tried = _candidates(answer["candidates"], routes)
        chosen = choose_graph(tried, routes, demand, log)
        for name in layout.files:
            require_file(scratch / chosen.name / name, chosen.title, log, most_bytes=layout.size_bytes)
        for name in reversed(layout.files):
            keep(scratch / chosen.name / name, out / name)
    return chosen, tried


def choose_graph(tried: Sequence[Candidate], routes: Sequence[GraphRoute], demand: Demand, log: Path) -> Candidate:
    """Of the candidates that meet the demand and are nearly as small as the smallest: one that computes in integers,
    if there is any; of several, the nearest to the source. Raises ProofError with every candidate's numbers.

    Shares of time decide nothing: they differ from run to run, and a build must not.
    """
    good = [c for c in tried if demand.met_by(c)]
    if not good:
        resized = "end the model before the operation whose result's size depends on the data, or "
        resized = resized if any(RESIZED in (c.failed or "") for c in tried) else ""
        raise demand.missed_by(
            tried, f"{resized}calibrate on more samples of the model's use, lower prove.min_cosine or prove.min_top1, "
            f"or use `scheme: fp32`; the log is {log}", judged_on="the calibration samples",
        )  # fmt: skip
    smallest = min(c.size_bytes for c in good)
    fast = {route.name for route in routes if route.in_integers}
    near = [c for c in good if c.size_bytes <= smallest * (1 + _SAME_SIZE)]
    return max(near, key=lambda c: (c.name in fast, c.min_cosine or 0.0, c.mean_cosine or 0.0, -c.size_bytes))


def _candidates(answers: Sequence[Mapping[str, Any]], routes: Sequence[GraphRoute]) -> tuple[Candidate, ...]:
    titles = {route.name: route.title for route in routes}
    if [answer["name"] for answer in answers] != list(titles):
        raise ValueError("other candidates than were asked for")
    return tuple(_candidate(answer, titles[answer["name"]]) for answer in answers)


def _candidate(answer: Mapping[str, Any], title: str) -> Candidate:
    name = str(answer["name"])
    if "failed" in answer:
        return Candidate(name, title, failed=str(answer["failed"]))
    if "outputs" not in answer:
        return Candidate(name, title, size_bytes=int(answer["size_bytes"]))
    found = agreement_of(answer["outputs"])
    if found.failure is not None:
        return Candidate(name, title, failed=found.failure)
    return Candidate(
        name,
        title,
        size_bytes=int(answer["size_bytes"]),
        mean_cosine=found.mean_cosine,
        min_cosine=found.min_cosine,
        time_share=float(answer["time_share"]),
        first=found.first,
        error_share=found.error_share,
    )


def compare_graphs(
    environment: Environment,
    reference: Path,
    model: Path,
    samples: Sequence[str],
    scratch: Path,
    *,
    memory_mib: int,
    report: Reporter,
    log: Path,
    script: Path = COMPARE_SCRIPT,
) -> Compared:
    """Runs both models on the samples. Raises ToolError: died, hung, or an answer of another form."""
    with scratch_in(scratch, _SCRATCH) as folder:
        request = {
            "reference": str(reference.resolve()),
            "model": str(model.resolve()),
            "samples": list(samples),
            "scratch": str(folder.resolve()),
            "threads": usable_cores(),
        }
        answer = run_json(
            environment, script, request, timeout_s=_TIMEOUT_S, log=log, memory_mib=memory_mib, report=report
        )
    require_sound(answer, reference.name)
    with answer_of(script, log):
        version = str(answer["versions"]["onnxruntime"])
        return Compared(agreement_of(answer["outputs"]), int(answer["different"]), version, int(answer["peak_mib"]))
