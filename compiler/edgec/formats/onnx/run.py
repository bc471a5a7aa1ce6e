"""Runs the toolchain `optimum`: exports an encoder, quantizes it by several routes and keeps one.

Rules: tools work in a scratch folder; a result is taken when it is what was planned, whatever the exit code; what a
killed run left is removed by the next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgec.errors import ProofError, ToolError
from edgec.events import Reporter
from edgec.formats.candidates import Candidate, Demand
from edgec.formats.onnx.encoder import Encoder
from edgec.formats.onnx.layout import MODEL_FILE, OPSET, OnnxLayout
from edgec.formats.onnx.routes import INTEGER, SAME_SIZE, SPARE, Route
from edgec.formats.tool_files import keep, require_file, scratch_in
from edgec.source.model import Checkpoint
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

TOOLCHAIN = "optimum"
_INSIDE = Path(__file__).parent / "inside"
EXPORT_SCRIPT = _INSIDE / "export_encoder.py"
QUANTIZE_SCRIPT = _INSIDE / "quantize_encoder.py"
# Threads that spin while they wait for each other make a busy machine slower, and the result no other.
_ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
_SCRATCH = ".onnx-scratch"
_TIMEOUT_S = 1800
_ROUTE_TIMEOUT_S = 600
# Of torch and the exporter, and of onnxruntime's quantizer, beside copies of the weights; measured in docs/onnx.md.
_EXPORT_MIB, _QUANTIZE_MIB = 700, 350
_EXPORT_COPIES, _QUANTIZE_COPIES = 4, 5
# onnxruntime and torch add in another order; a graph that is wrong is farther away by orders of magnitude.
_MAX_DIFFERENCE = 1e-3
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_OUTPUTS = ["last_hidden_state"]


@dataclass(frozen=True)
class Exported:
    """A float32 graph. `max_difference`: to torch, relative to the largest value."""

    inputs: tuple[str, ...]
    max_difference: float
    versions: Mapping[str, str]
    peak_mib: int


def export_memory_mib(float_bytes: int) -> int:
    """What the export needs."""
    return _EXPORT_MIB + (_EXPORT_COPIES * float_bytes >> 20)


def quantize_memory_mib(float_bytes: int) -> int:
    """What quantizing needs."""
    return _QUANTIZE_MIB + (_QUANTIZE_COPIES * float_bytes >> 20)


def export_encoder(
    environment: Environment,
    checkpoint: Checkpoint,
    encoder: Encoder,
    layout: OnnxLayout,
    out: Path,
    *,
    report: Reporter,
    log: Path,
    script: Path = EXPORT_SCRIPT,
) -> Exported:
    """Writes `model.onnx` into the folder `out`. Raises ToolError: died, hung, or another graph than an encoder's."""
    with scratch_in(out, _SCRATCH) as scratch:
        made = scratch / MODEL_FILE
        request = {
            "checkpoint": str(checkpoint.root.resolve()),
            "scratch": str(scratch.resolve()),
            "out": str(made.resolve()),
            "opset": OPSET,
            "vocabulary": encoder.vocabulary,
            "positions": encoder.positions,
            "threads": usable_cores(),
        }
        memory_mib = export_memory_mib(layout.float_bytes)
        answer = run_json(
            environment, script, request, timeout_s=_TIMEOUT_S, log=log, memory_mib=memory_mib, env=_ENV, report=report
        )
        require_file(made, "Optimum's export", log, most_bytes=layout.float_bytes)
        with answer_of(script, log):
            exported = Exported(
                tuple(answer["inputs"]), float(answer["max_difference"]), answer["versions"], int(answer["peak_mib"])
            )
            _require_encoder(answer, exported, log)
        keep(made, out / MODEL_FILE)
    return exported


def _require_encoder(answer: Mapping[str, Any], exported: Exported, log: Path) -> None:
    hint = f"the whole output is in {log}"
    inputs = set(exported.inputs)
    if not {"input_ids", "attention_mask"} <= inputs <= _INPUTS or answer["outputs"] != _OUTPUTS:
        found = f"takes {', '.join(exported.inputs)} and gives {', '.join(answer['outputs'])}"
        raise ToolError.of(f"Optimum's export {found}, which is not an encoder's graph", hint=hint)
    if answer["opset"] != OPSET:
        raise ToolError.of(f"Optimum's export has the opset {answer['opset']}, and {OPSET} was asked for", hint=hint)
    if not exported.max_difference <= _MAX_DIFFERENCE:
        raise ProofError.of(
            f"the exported graph differs from torch by {exported.max_difference:.2g} of its largest value "
            f"(at most {_MAX_DIFFERENCE:g})",
            hint=f"the export is wrong; report it with the log {log}",
        )


def quantize_encoder(
    environment: Environment,
    graph: Path,
    encoder: Encoder,
    layout: OnnxLayout,
    out: Path,
    *,
    demand: Demand,
    texts: Sequence[Sequence[int]],
    report: Reporter,
    log: Path,
    script: Path = QUANTIZE_SCRIPT,
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Writes the chosen candidate as `layout.file` into `out`; returns it and all that were tried.

    `texts`: token ids of the calibration text; where there is a choice, ranges come from every other one and the rest
    judges. Raises ToolError: died, hung, wrote what it must not; ProofError: no route is good enough.
    """
    routes, has_choice = layout.routes, len(layout.routes) > 1
    with scratch_in(out, _SCRATCH) as scratch:
        request = {
            "model": str(graph.resolve()),
            "scratch": str(scratch.resolve()),
            "routes": [asdict(route) for route in routes],
            "ranges": texts[::2] if has_choice else list(texts),
            "judged": texts[1::2] if has_choice else [],
            "pooling": encoder.pooling,
            "threads": usable_cores(),
        }
        answer = run_json(
            environment,
            script,
            request,
            timeout_s=_ROUTE_TIMEOUT_S * len(routes),
            log=log,
            memory_mib=quantize_memory_mib(layout.float_bytes),
            report=report,
        )
        with answer_of(script, log):
            tried = _candidates(answer["candidates"], routes)
        chosen = choose(tried, demand, log)
        made = scratch / f"{chosen.name}.onnx"
        require_file(made, chosen.title, log, most_bytes=layout.size_bytes)
        keep(made, out / layout.file)
    return chosen, tried


def _candidates(answers: Sequence[Mapping[str, Any]], routes: Sequence[Route]) -> tuple[Candidate, ...]:
    titles = {route.name: route.title for route in routes}
    if [answer["name"] for answer in answers] != list(titles):
        raise ValueError("other candidates than were asked for")
    return tuple(Candidate(title=titles[answer["name"]], **answer) for answer in answers)


def choose(tried: Sequence[Candidate], demand: Demand, log: Path) -> Candidate:
    """The smallest candidate that meets the demand; of those within a fiftieth of its size, the nearest to the source:
    of those with integer products, if any of them has but a quarter of the error that is allowed, else of all.

    Raises ProofError with every candidate's numbers when none does.
    """
    good = [c for c in tried if demand.met_by(c)]
    if not good:
        raise demand.missed_by(tried, f"lower prove.min_cosine, or use `scheme: fp32`; the log is {log}")
    smallest = min(c.size_bytes for c in good)
    near = [c for c in good if c.size_bytes <= smallest * (1 + SAME_SIZE)]
    allowed = SPARE * (1 - demand.mean_cosine)
    quick = [c for c in near if c.name in INTEGER and 1 - (c.mean_cosine or 0.0) <= allowed]
    return max(quick or near, key=lambda c: (c.mean_cosine or 0.0, -c.size_bytes))


@contextlib.contextmanager
def answer_of(script: Path, log: Path) -> Iterator[None]:
    """Read a script's answer within: what has another form is an error that names the script."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise ToolError.of(
            f"{script.name} gave an answer of another form: {error!r}", hint=f"the whole output is in {log}"
        ) from error
