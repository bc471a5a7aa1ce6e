"""Runs the toolchain `rknn`: a float32 graph compiled by one or several routes, simulated, and one of them kept.

Rules: each route is a process of its own, since the toolkit may die; its return codes are not believed: the file is
read and must be of the planned chip and shapes; what a killed run left is removed by the next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgec.errors import ToolError
from edgec.events import Note, Reporter
from edgec.formats.candidates import Candidate, Demand
from edgec.formats.rknn.layout import RknnLayout
from edgec.formats.rknn.rknn_file import RknnFile, read_rknn
from edgec.formats.rknn.routes import Route
from edgec.formats.tool_files import keep, require_file, scratch_in
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

TOOLCHAIN = "rknn"
PLATFORM = "rk3588"
VECTORS_FILE = "simulated.npz"
BUILD_SCRIPT = Path(__file__).parent / "inside" / "build_rknn.py"
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
    """Writes `layout.file` and the simulator's vectors into `out`: of the smallest route that meets the demand.

    Routes stand from the smallest to the largest, and none is tried after one that is good enough. Raises ToolError:
    the only route's process died, hung, or wrote what it must not; ProofError: no route is good enough.
    """
    tried: list[Candidate] = []
    for route in layout.routes:
        log = logs / f"rknn-{layout.scheme}-{route.name}.log"
        with scratch_in(out, _SCRATCH) as scratch:
            request = {
                "model": str(graph.resolve()),
                "scratch": str(scratch.resolve()),
                "out": str((scratch / layout.file).resolve()),
                "vectors": str((scratch / VECTORS_FILE).resolve()),
                "platform": PLATFORM,
                "length": encoder.length,
                "route": asdict(route),
                "pooling": encoder.pooling,
                "pad_id": encoder.pad_id,
                "threads": usable_cores(),
                **asdict(texts),
            }
            try:
                answer = run_json(
                    environment, script, request,
                    timeout_s=timeout_s, log=log, memory_mib=memory_mib, env=_ENV, report=report,
                )  # fmt: skip
                candidate, file = _candidate(
                    route, answer, scratch / layout.file, encoder=encoder, layout=layout, log=log
                )
                require_file(scratch / VECTORS_FILE, "the simulator's vectors", log, missing=f"a file {VECTORS_FILE}")
            except ToolError as error:
                if len(layout.routes) == 1:
                    raise
                tried.append(Candidate(route.name, route.title, failed=error.diagnostics[0].message))
                continue
            tried.append(candidate)
            if demand.met_by(candidate):
                for name in (layout.file, VECTORS_FILE):
                    keep(scratch / name, out / name)
                errors = _errors_in(log)
                if errors:
                    message = f"the toolkit printed {errors} lines of errors and made a model all the same ({log})"
                    report(Note(f"{message}; the proof judges it"))
                return Compiled(candidate, tuple(tried), file, errors, dict(answer["versions"]))
    hint = f"lower prove.min_cosine, or use `format: gguf` on the CPU; the logs are in {logs}"
    raise demand.missed_by(tried, hint)


def _candidate(
    route: Route, answer: Mapping[str, Any], made: Path, *, encoder: EncoderInput, layout: RknnLayout, log: Path
) -> tuple[Candidate, RknnFile]:
    """What the route made, when its file is what was planned. Raises ToolError."""
    what = f"rknn-toolkit2 ({route.title})"
    require_file(made, what, log, missing=f"a file {made.name}", most_bytes=layout.size_bytes)
    file = read_rknn(made)
    shape = (1, encoder.length)
    names = {tensor.name for tensor in file.inputs}
    if not {"input_ids", "attention_mask"} <= names <= _INPUTS or any(t.shape != shape for t in file.inputs):
        raise ToolError.of(
            f"the compiled model takes {_listed(file.inputs)}, and {encoder.length} tokens were planned",
            hint=f"the whole output is in {log}",
        )
    if [t.shape for t in file.outputs] != [(*shape, encoder.width)] or PLATFORM not in file.platforms:
        raise ToolError.of(
            f"the compiled model is for {', '.join(file.platforms)} and gives {_listed(file.outputs)}, which is not "
            f"{encoder.length} x {encoder.width} on {PLATFORM}",
            hint=f"the whole output is in {log}",
        )
    try:
        mean, smallest = (float(answer[n]) if n in answer else None for n in ("mean_cosine", "min_cosine"))
        dict(answer["versions"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ToolError.of(
            f"{BUILD_SCRIPT.name} gave an answer of another form: {error!r}", hint=f"the whole output is in {log}"
        ) from error
    return Candidate(route.name, route.title, made.stat().st_size, mean, smallest), file


def _listed(tensors: Sequence[Any]) -> str:
    return ", ".join(f"{t.name} {list(t.shape)}" for t in tensors) or "nothing"


def _errors_in(log: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(_ERROR_MARK in line for line in log.read_text(encoding="utf-8", errors="replace").splitlines())
    return 0
