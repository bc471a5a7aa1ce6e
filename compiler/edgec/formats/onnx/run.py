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
from edgec.formats.onnx.encoder import Encoder, Tokens
from edgec.formats.onnx.families import NOMIC
from edgec.formats.onnx.layout import MODEL_FILE, OPSET, OnnxLayout
from edgec.formats.onnx.routes import INTEGER, SAME_SIZE, SPARE, Route
from edgec.formats.tool_files import keep, require_file, scratch_in
from edgec.source.model import Checkpoint
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

TOOLCHAIN = "optimum"
# Has the classes that Optimum's transformers is too old for.
_NEWER_TOOLCHAIN = "transformers"
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
_TASKS = {"encoder": ("feature-extraction", "last_hidden_state"), "reranker": ("text-classification", "logits")}


@dataclass(frozen=True)
class Exported:
    """A float32 graph. `max_difference`: to torch, relative to the largest value."""

    inputs: tuple[str, ...]
    max_difference: float
    versions: Mapping[str, str]
    peak_mib: int


def source_toolchain(encoder: Encoder) -> str:
    """The toolchain in which the source itself can be run."""
    return _NEWER_TOOLCHAIN if encoder.family == NOMIC else TOOLCHAIN


def source_request(checkpoint: Checkpoint, encoder: Encoder) -> dict[str, Any]:
    """What a script needs to run the source: see inside/torch_model.py."""
    model_class, numbers = "AutoModel", None
    if encoder.kind == "reranker":
        model_class = "AutoModelForSequenceClassification"
    elif encoder.numbers is not None:
        model_class = "NomicBertModel"
        rope = {"rope_type": "default", "rope_theta": encoder.numbers["rope_theta"]}
        numbers = {k: v for k, v in encoder.numbers.items() if k != "rope_theta"} | {"rope_parameters": rope}
    return {"checkpoint": str(checkpoint.root.resolve()), "model_class": model_class, "numbers": numbers}


def export_memory_mib(float_bytes: int) -> int:
    """What the export needs."""
    return _EXPORT_MIB + (_EXPORT_COPIES * float_bytes >> 20)


def quantize_memory_mib(layout: OnnxLayout) -> int:
    """What quantizing needs. The float32 graph itself is mapped where it is large, and its pages can be dropped."""
    return _QUANTIZE_MIB + (_QUANTIZE_COPIES * layout.start_bytes >> 20)


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
            **source_request(checkpoint, encoder),
            "task": _TASKS[encoder.kind][0],
            "scratch": str(scratch.resolve()),
            "out": str(made.resolve()),
            "beside": layout.graph_beside,
            "opset": OPSET,
            "vocabulary": encoder.vocabulary,
            "positions": encoder.positions,
            "types": encoder.types,
            "threads": usable_cores(),
        }
        memory_mib = export_memory_mib(layout.float_bytes)
        answer = run_json(
            environment, script, request, timeout_s=_TIMEOUT_S, log=log, memory_mib=memory_mib, env=_ENV, report=report
        )
        exported = take_graph(answer, scratch, encoder, layout, script=script, log=log)
        for name in layout.graph_files:
            keep(scratch / name, out / name)
    return exported


def take_graph(
    answer: Mapping[str, Any], folder: Path, encoder: Encoder, layout: OnnxLayout, *, script: Path, log: Path
) -> Exported:
    """What a script wrote into `folder`, if it is the planned graph. Raises ToolError, and ProofError: a wrong one."""
    require_files(folder, layout.graph_files, "the export", log, most_bytes=layout.float_bytes)
    with answer_of(script, log):
        exported = Exported(
            tuple(answer["inputs"]), float(answer["max_difference"]), answer["versions"], int(answer["peak_mib"])
        )
        _require_encoder(answer, exported, encoder, log)
    return exported


def _require_encoder(answer: Mapping[str, Any], exported: Exported, encoder: Encoder, log: Path) -> None:
    hint = f"the whole output is in {log}"
    inputs = set(exported.inputs)
    if not {"input_ids", "attention_mask"} <= inputs <= _INPUTS or answer["outputs"] != [_TASKS[encoder.kind][1]]:
        found = f"takes {', '.join(exported.inputs)} and gives {', '.join(answer['outputs'])}"
        raise ToolError.of(f"the export {found}, which is not the graph of the {encoder.kind}", hint=hint)
    if answer["opset"] != OPSET:
        raise ToolError.of(f"the export has the opset {answer['opset']}, and {OPSET} was asked for", hint=hint)
    if not exported.max_difference <= _MAX_DIFFERENCE:
        raise ProofError.of(
            f"the exported graph differs from torch by {exported.max_difference:.2g} of its largest value "
            f"(at most {_MAX_DIFFERENCE:g})",
            hint=f"the export is wrong; report it with the log {log}",
        )


def require_files(folder: Path, names: Sequence[str], what: str, log: Path, *, most_bytes: int) -> None:
    """Raises ToolError when a file is not there, or all together are more than was planned."""
    for name in names:
        require_file(folder / name, what, log, most_bytes=most_bytes)
    size = sum((folder / name).stat().st_size for name in names)
    if size > most_bytes:
        raise ToolError.of(
            f"{what} made files of {size} bytes, and at most {most_bytes} were planned",
            hint=f"the whole output is in {log}",
        )


def quantize_encoder(
    environment: Environment,
    graph: Path,
    encoder: Encoder,
    layout: OnnxLayout,
    out: Path,
    *,
    demand: Demand,
    ranges: Sequence[Tokens],
    judged: Sequence[Tokens],
    report: Reporter,
    log: Path,
    script: Path = QUANTIZE_SCRIPT,
) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Writes the chosen candidate as `layout.files` into `out`; returns it and all that were tried.

    `ranges`: the texts that scales of activations are found on; `judged`: those that candidates are compared on, where
    there is a choice. Raises ToolError: died, hung, wrote what it must not; ProofError: no route is good enough.
    """
    routes = layout.routes
    with scratch_in(out, _SCRATCH) as scratch:
        request = {
            "model": str(graph.resolve()),
            "scratch": str(scratch.resolve()),
            "routes": [asdict(route) for route in routes],
            "file": layout.file,
            "beside": layout.beside,
            "for_browser": layout.for_browser,
            "ranges": [asdict(text) for text in ranges],
            "judged": [asdict(text) for text in judged],
            "pooling": encoder.pooling,
            "pad_id": encoder.pad_id,
            "threads": usable_cores(),
        }
        answer = run_json(
            environment,
            script,
            request,
            timeout_s=_ROUTE_TIMEOUT_S * len(routes),
            log=log,
            memory_mib=quantize_memory_mib(layout),
            report=report,
        )
        with answer_of(script, log):
            tried = _candidates(answer["candidates"], routes)
        chosen = choose(tried, demand, log)
        made = scratch / chosen.name
        require_files(made, layout.files, chosen.title, log, most_bytes=layout.size_bytes)
        for name in layout.files:
            keep(made / name, out / name)
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
    quick = [c for c in near if c.name in INTEGER and _error(c) <= SPARE * _allowed(demand)]
    return max(quick or near, key=lambda c: (c.nearness, -c.size_bytes))


def _error(candidate: Candidate) -> float:
    return candidate.score_error if candidate.score_error is not None else 1 - (candidate.mean_cosine or 0.0)


def _allowed(demand: Demand) -> float:
    return demand.score_error if demand.score_error is not None else 1 - demand.mean_cosine


@contextlib.contextmanager
def answer_of(script: Path, log: Path) -> Iterator[None]:
    """Raises ToolError where what a script answered is of another form."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise ToolError.of(
            f"{script.name} gave an answer of another form: {error!r}", hint=f"the whole output is in {log}"
        ) from error
