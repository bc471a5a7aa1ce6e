"""Runs the toolchain `rknn`: a float32 graph compiled by one or several routes, simulated, and one of them kept.

Rules: each route is a process of its own, since the toolkit may die; its return codes are not believed: the file is
read and must be of the planned chip and shapes; what a killed run left is removed by the next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgec.errors import ToolError
from edgec.events import Note, Reporter
from edgec.formats.candidates import Candidate, Demand
from edgec.formats.onnx.agreement import agreement_of
from edgec.formats.onnx.faults import require_sound
from edgec.formats.rknn.layout import RknnLayout
from edgec.formats.rknn.rknn_file import RknnFile, read_rknn
from edgec.formats.rknn.routes import Route
from edgec.formats.tool_files import keep, require_file, scratch_in
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json
from edgec.toolchain.process import ToolEndedError

TOOLCHAIN = "rknn"
PLATFORM = "rk3588"
VECTORS_FILE = "simulated.npz"
_INSIDE = Path(__file__).parent / "inside"
BUILD_SCRIPT, ARRAYS_SCRIPT = _INSIDE / "build_rknn.py", _INSIDE / "build_rknn_arrays.py"
_SCRATCH = ".rknn-scratch"
_TIMEOUT_S = 3600
_ENV = {"OMP_WAIT_POLICY": "PASSIVE"}
# Of the toolkit with torch, and of its copies of the weights; measured in docs/rknn.md.
_FIXED_MIB, _COPIES = 500, 7
_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_ERROR_MARK = "E RKNN"


@dataclass(frozen=True)
class EncoderInput:
    """What a text becomes: `length` tokens, padded with `pad_id`; one vector of it by `pooling`; of so many numbers."""

    length: int
    pad_id: int
    pooling: str
    width: int


@dataclass(frozen=True)
class Texts:
    """Token ids. `ranges`: of the calibration text; `judged`: its other half, where there is a choice; `proven`."""

    ranges: Sequence[Sequence[int]]
    judged: Sequence[Sequence[int]]
    proven: Sequence[Sequence[int]]


@dataclass(frozen=True)
class RknnJob:
    """What `script` is asked, beside the route and where files lie, and what the file must then say of itself.

    `inputs`, `outputs`: shapes; `outputs` None: they are not known beforehand; `optional`: inputs that a graph may
    lack; `input_type`: of those that are not quantized; `results`: what the request calls the file of the simulator's
    answers; `otherwise`: a format for the CPU; `judged_on`: what a miss is told to be on.
    """

    script: Path
    request: Mapping[str, Any]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: tuple[tuple[int, ...], ...] | None
    results: str
    optional: frozenset[str] = frozenset()
    input_type: str = "int64"
    otherwise: str = "gguf"
    judged_on: str = "the calibration text"


@dataclass(frozen=True)
class Compiled:
    """The kept candidate, all that were tried, and what the file says of itself. `printed_errors`: lines in the log."""

    chosen: Candidate
    tried: tuple[Candidate, ...]
    file: RknnFile
    printed_errors: int
    versions: Mapping[str, str]


def build_memory_mib(float_bytes: int) -> int:
    """What compiling and simulating needs."""
    return _FIXED_MIB + (_COPIES * float_bytes >> 20)


def compile_rknn(
    environment: Environment,
    graph: Path,
    encoder: EncoderInput,
    layout: RknnLayout,
    out: Path,
    *,
    demand: Demand,
    texts: Texts,
    memory_mib: int,
    report: Reporter,
    logs: Path,
    script: Path = BUILD_SCRIPT,
    timeout_s: float = _TIMEOUT_S,
) -> Compiled:
    """Writes `layout.file` and the simulator's vectors into `out`: see `compile_by_routes`."""
    shape = (1, encoder.length)
    job = RknnJob(
        script=script,
        request={
            "length": encoder.length, "pooling": encoder.pooling, "pad_id": encoder.pad_id, **asdict(texts),
        },
        inputs=dict.fromkeys(sorted(_INPUTS), shape),
        optional=frozenset({"token_type_ids"}),
        outputs=((*shape, encoder.width),),
        results="vectors",
    )  # fmt: skip
    return compile_by_routes(
        environment, graph, job, layout, out,
        demand=demand, memory_mib=memory_mib, report=report, logs=logs, timeout_s=timeout_s,
    )  # fmt: skip


def compile_by_routes(
    environment: Environment,
    graph: Path,
    job: RknnJob,
    layout: RknnLayout,
    out: Path,
    *,
    demand: Demand,
    memory_mib: int,
    report: Reporter,
    logs: Path,
    timeout_s: float = _TIMEOUT_S,
) -> Compiled:
    """Writes `layout.file` and what the simulator answered into `out`: of the smallest route that meets the demand.

    Routes stand from the smallest to the largest, and none is tried after one that is good enough. Raises ToolError:
    the only route's process died or wrote what it must not, or any was ended from outside; ProofError: no route is
    good enough.
    """
    tried: list[Candidate] = []
    for route in layout.routes:
        log = logs / f"rknn-{layout.scheme}-{route.name}.log"
        with scratch_in(out, _SCRATCH) as scratch:
            request = {
                **job.request,
                "model": str(graph.resolve()),
                "scratch": str(scratch.resolve()),
                "out": str((scratch / layout.file).resolve()),
                job.results: str((scratch / VECTORS_FILE).resolve()),
                "platform": PLATFORM,
                "route": asdict(route),
                "threads": usable_cores(),
            }
            try:
                made = _made_by(
                    environment, graph, job, layout, route, scratch=scratch, request=request,
                    log=log, memory_mib=memory_mib, report=report, timeout_s=timeout_s,
                )  # fmt: skip
            except _RouteError as error:
                if len(layout.routes) == 1:
                    raise _advised(error, route, job.otherwise) from error
                why = error.diagnostics[0].message
                report(Note(f"rknn-toolkit2 failed by the route `{route.name}`, which is left out: {why}", "warning"))
                tried.append(Candidate(route.name, route.title, failed=why))
                continue
            tried.append(made.chosen)
            if demand.met_by(made.chosen):
                for name in (layout.file, VECTORS_FILE):
                    keep(scratch / name, out / name)
                errors = _errors_in(log)
                if errors:
                    lines = "1 line" if errors == 1 else f"{errors} lines"
                    message = f"the toolkit printed {lines} of errors and made a model all the same ({log})"
                    report(Note(f"{message}; the proof judges it"))
                return replace(made, tried=tuple(tried), printed_errors=errors)
    hint = f"lower prove.min_cosine, or use `format: {job.otherwise}` on the CPU; the logs are in {logs}"
    raise demand.missed_by(tried, hint, judged_on=job.judged_on)


class _RouteError(ToolError):
    """The toolkit's own failure on a graph: another route may do."""


def _made_by(
    environment: Environment,
    graph: Path,
    job: RknnJob,
    layout: RknnLayout,
    route: Route,
    *,
    scratch: Path,
    request: Mapping[str, Any],
    log: Path,
    memory_mib: int,
    report: Reporter,
    timeout_s: float,
) -> Compiled:
    """What came of one route. Raises _RouteError, and ToolError for what has nothing to do with the graph: a process
    that memory, a person or the time limit ended must not decide which route is chosen."""
    try:
        answer = run_json(
            environment, job.script, request,
            timeout_s=timeout_s, log=log, memory_mib=memory_mib, env=_ENV, report=report,
        )  # fmt: skip
    except ToolEndedError as error:
        if error.from_outside:
            raise
        raise _RouteError(*error.diagnostics) from error
    require_sound(answer, graph.name)
    try:
        candidate, file = _candidate(route, answer, scratch / layout.file, job=job, layout=layout, log=log)
        require_file(scratch / VECTORS_FILE, "the simulator's results", log, missing=f"a file {VECTORS_FILE}")
    except ToolError as error:
        raise _RouteError(*error.diagnostics) from error
    return Compiled(candidate, (), file, 0, dict(answer["versions"]))


def _advised(error: ToolError, route: Route, otherwise: str) -> ToolError:
    """The error of a scheme's only route, with what else there is: int8 kills the toolkit where float16 does not."""
    first, *others = error.diagnostics
    next_ = f"`format: {otherwise}`, for the CPU"
    if route.dtype == "w8a8":
        next_ = f"`scheme: auto`, which goes on when a route fails, `fp16`, or {next_}"
    hint = "; ".join(filter(None, (first.hint, f"or try {next_}")))
    return ToolError(replace(first, hint=hint), *others)


def _candidate(
    route: Route, answer: Mapping[str, Any], made: Path, *, job: RknnJob, layout: RknnLayout, log: Path
) -> tuple[Candidate, RknnFile]:
    """What the route made, when its file is what was planned. Raises ToolError."""
    what = f"rknn-toolkit2 ({route.title})"
    require_file(made, what, log, missing=f"a file {made.name}", most_bytes=layout.size_bytes)
    file = read_rknn(made, job.input_type)
    found = {tensor.name: tensor.shape for tensor in file.inputs}
    planned = {name: shape for name, shape in job.inputs.items() if name in found or name not in job.optional}
    if found != planned:
        raise ToolError.of(
            f"the compiled model takes {_listed(file.inputs)}, and {_told(job.inputs.items())} was planned",
            hint=f"the whole output is in {log}",
        )
    outputs = [tensor.shape for tensor in file.outputs]
    if (job.outputs is not None and outputs != list(job.outputs)) or PLATFORM not in file.platforms or not outputs:
        wanted = "outputs" if job.outputs is None else _told(("", shape) for shape in job.outputs)
        raise ToolError.of(
            f"the compiled model is for {', '.join(file.platforms)} and gives {_listed(file.outputs)}, which is not "
            f"{wanted} on {PLATFORM}",
            hint=f"the whole output is in {log}",
        )
    try:
        judged = _judged(answer)
        dict(answer["versions"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ToolError.of(
            f"{job.script.name} gave an answer of another form: {error!r}", hint=f"the whole output is in {log}"
        ) from error
    return Candidate(route.name, route.title, made.stat().st_size, **judged), file


def _judged(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a candidate has of cosines and shares, nothing where nothing was judged."""
    if "sums" in answer:
        found = agreement_of(answer["sums"])
        if found.failure is not None:
            raise ToolError.of(found.failure, hint="choose another scheme")
        names = ("mean_cosine", "min_cosine", "first", "error_share")
        return {name: getattr(found, name) for name in names}
    return {name: float(answer[name]) for name in ("mean_cosine", "min_cosine", "first") if name in answer}


def _told(tensors: Iterable[tuple[str, Sequence[int]]]) -> str:
    return ", ".join(f"{name} {list(shape)}".strip() for name, shape in tensors)


def _listed(tensors: Sequence[Any]) -> str:
    return ", ".join(f"{t.name} {list(t.shape)}" for t in tensors) or "nothing"


def _errors_in(log: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(_ERROR_MARK in line for line in log.read_text(encoding="utf-8", errors="replace").splitlines())
    return 0
