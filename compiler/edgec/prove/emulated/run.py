"""Runs an artifact on this machine and on an emulated 64-bit ARM, on the same tokens, and compares the outputs.

Rules: both sides run the same script and the same version of the runtime, so that only the processor differs; what was
found is kept under the digests of all it depends on; nothing is said of speed, power or memory.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgec
from edgec.documents.canonical import canonical_json, sha256_bytes, sha256_file, sha256_json
from edgec.documents.wording import listed
from edgec.errors import InputError, ToolError
from edgec.prove.emulated.subject import FORMATS, TOOLCHAIN, Bench, EmulatedSubject, Emulation
from edgec.store.atomic import write_file
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.dialogue import run_script
from edgec.toolchain.emulated.make_root import emulated_root
from edgec.toolchain.emulated.qemu import Qemu, find_qemu
from edgec.toolchain.emulated.root import Root, emulated_variables, root_in_use
from edgec.toolchain.environments import Environment, find_toolchain, in_use, install
from edgec.toolchain.memory import refuse_small_memory
from edgec.toolchain.process import ToolEndedError
from edgec.toolchain.run import Answer
from edgec.toolchain.surroundings import for_tool

_INSIDE = Path(__file__).parent / "inside"
_SCRIPTS = {"gguf": "run_gguf.py", "onnx": "run_onnx.py"}
# Raised when the scripts give other numbers for the same texts.
_REVISION = 3
# Prose, code, other scripts and signs, a question; few tokens, since each takes seconds of a large model.
TEXTS = (
    "The container starts, reads its configuration, and listens on the port that the file names.",
    "def main(arguments):\n    for name in arguments:\n        print(name)\n",
    "Größe: 3 × 4 → 12; 北京的天气今天很好。",
    "Question: What does a checksum tell of a file?\nAnswer:",
)
# What a reranker scores.
PAIRS = tuple((query, text) for query in (TEXTS[0], TEXTS[3]) for text in TEXTS)
MAX_TOKENS = 24
SINGLE_TOKENS = 8
# Drawn inputs of a model that takes no text.
SAMPLES = 4
_NATIVE_TIMEOUT_S = 1800.0
_EMULATED_TIMEOUT_S = 3600.0
# Interpreter, runtime and buffers, beside two copies of the weights: mapped, and repacked.
_FIXED_MIB = 700
_COPIES = 2
_COMPARE_LOG = "emulation-compare.log"
_WITHOUT_TEXT = ("classifier", "graph")
_DRAWN = "it was given drawn inputs (waves around zero, whole numbers 0 and 1), and may need others"
# Of what is found, always there.
_FOUND = frozenset({"rows", "broken", "machine", "runtime", "features"})


@dataclass(frozen=True)
class Machines:
    """What the two runs need: the emulator, the runtimes for this machine, and those for the emulated one."""

    qemu: Qemu
    environment: Environment
    root: Root


@dataclass(frozen=True)
class Side:
    """One of the two runs: how a script is started, and what it is called."""

    name: str
    python: Path
    launcher: tuple[str, ...]
    env: Mapping[str, str]
    timeout_s: float


@dataclass(frozen=True)
class Answered:
    """What a run answered, and the file with its rows."""

    answer: Mapping[str, Any]
    rows: Path


def emulate(subject: EmulatedSubject, bench: Bench, *, timeout_s: float = _EMULATED_TIMEOUT_S) -> Emulation:
    """Both runs and their comparison, or what they gave before.

    Raises InputError for an artifact that cannot be emulated; ToolError without qemu, apt or a network, when a run dies
    (with its signal and its log) or does not end.
    """
    refuse_unfit(subject)
    machines = prepare(bench)
    qemu, root = machines.qemu, machines.root
    kept = bench.results / f"{_key(subject, qemu, root)}.json"
    found = before = _read(kept)
    if found is None:
        refuse_small_memory("the emulation", emulation_memory_mib(sum(path.stat().st_size for path in subject.files)))
        sides = native_side(machines.environment), emulated_side(qemu, root, subject.cpu, timeout_s)
        with in_use(machines.environment), root_in_use(root):
            found = _run_on(sides, subject, bench)
        write_file(kept, canonical_json(found))
    return Emulation(subject, qemu.version, found, kept=before is not None)


def prepare(bench: Bench) -> Machines:
    """Finds qemu, and makes what both runs need if it is not there. Raises ToolError."""
    # What is missing of this machine is told before anything is downloaded.
    qemu = find_qemu()
    environment = install(
        find_toolchain(TOOLCHAIN), bench.toolchains, offline=bench.offline, report=bench.report,
        log=bench.logs / f"toolchain-{TOOLCHAIN}.log",
    )  # fmt: skip
    log = bench.logs / "emulated-root.log"
    return Machines(
        qemu, environment, emulated_root(environment, qemu, offline=bench.offline, report=bench.report, log=log)
    )


def _run_on(sides: tuple[Side, Side], subject: EmulatedSubject, bench: Bench) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgec-emulation-") as scratch:
        request = prepared(subject, sides[0], Path(scratch), bench)
        # The native run first: it takes a moment, and a file that cannot be opened is found out by it.
        answered = [run_side(side, subject, request, Path(scratch), bench) for side in sides]
        found = compare(sides[0], subject.kind, answered, bench)
        _refuse_undefined(subject, found)
        return found


def _refuse_undefined(subject: EmulatedSubject, found: Mapping[str, Any]) -> None:
    """Raises InputError where the drawn inputs have no answer, so that nothing was compared."""
    if found.get("undefined"):
        raise InputError.of(
            f"{subject.name} cannot be emulated: of {found['rows']} outputs of drawn inputs, {found['undefined']} have "
            "NaN on this machine as well",
            hint=f"{_DRAWN}: leave out the emulation of this artifact",
        )


def emulation_memory_mib(artifact_bytes: int) -> int:
    """What either run needs."""
    return _FIXED_MIB + (_COPIES * artifact_bytes >> 20)


def refuse_unfit(subject: EmulatedSubject) -> None:
    """Raises InputError for an artifact that has no runtime in the root."""
    if subject.format not in _SCRIPTS:
        raise InputError.of(
            f"{subject.name} cannot be emulated: no runtime of `{subject.format}` runs in qemu",
            hint=f"emulated are the formats {listed(FORMATS)}",
        )
    if subject.format == "onnx" and (missing := _missing_of(subject)) is not None:
        what, hint = missing
        raise InputError.of(f"{subject.name} cannot be emulated: {what}", hint=hint)


def _missing_of(subject: EmulatedSubject) -> tuple[str, str] | None:
    """What inputs of an ONNX file cannot be made without, and what to do."""
    leave_out = "leave out the emulation of this artifact"
    if subject.kind in _WITHOUT_TEXT:
        unknown = "its manifest does not say what goes in", "build the bundle again, or leave out the emulation"
        return None if subject.inputs else unknown
    if subject.tokenizer is None:
        return "there is no tokenizer.json, which makes its inputs", leave_out
    if subject.kind == "decoder" and subject.head_width is None:
        return "no config.json says how wide its heads are", leave_out
    return None


def native_side(environment: Environment) -> Side:
    """This machine."""
    env = {**for_tool(os.environ, str(environment.python.parent)), "OMP_WAIT_POLICY": "PASSIVE"}
    return Side("native", environment.python, (), env, _NATIVE_TIMEOUT_S)


def emulated_side(qemu: Qemu, root: Root, cpu: str, timeout_s: float) -> Side:
    """The emulated processor."""
    return Side("emulated", root.python, qemu.launcher(root.folder, cpu), emulated_variables(os.environ), timeout_s)


def run_side(
    side: Side,
    subject: EmulatedSubject,
    request: Mapping[str, Any],
    scratch: Path,
    bench: Bench,
    *,
    script: Path | None = None,
) -> Answered:
    """Runs the artifact on one side, by its format's script unless another is given. Raises ToolError."""
    rows = scratch / f"{side.name}.npz"
    told = {**request, "model": str(subject.model.resolve()), "out": str(rows)}
    log = bench.logs / f"emulation-{side.name}.log"
    try:
        answer = _asked(side, script or _INSIDE / _SCRIPTS[subject.format], told, log, bench)
    except ToolEndedError as error:
        raise _died(error, side, subject, log) from error
    if not rows.is_file():
        raise ToolError.of(f"the {side.name} run left no outputs", hint=f"the whole output is in {log}")
    return Answered(answer, rows)


def compare(native: Side, kind: str, answered: Sequence[Answered], bench: Bench) -> Mapping[str, Any]:
    """How far the emulated outputs (the second) are from this machine's (the first), as JSON. Raises ToolError."""
    here, there = answered
    # An ONNX file's run is given the ids, and answers none.
    made = [side.answer["ids"] for side in answered if "ids" in side.answer]
    different = sum(one != other for one, other in zip(*made, strict=True))
    request = {"package": _package(), "kind": kind, "native": str(here.rows), "emulated": str(there.rows)}
    measured = {"rows": 1, "broken": 1}
    if not different:
        measured = _asked(native, _INSIDE / "compare_rows.py", request, bench.logs / _COMPARE_LOG, bench)
    return {
        **measured,
        **({"different_ids": different} if made else {}),
        "machine": here.answer["machine"],
        "runtime": there.answer["runtime"],
        "features": there.answer["features"],
    }


def prepared(subject: EmulatedSubject, native: Side, scratch: Path, bench: Bench) -> dict[str, Any]:
    """What both sides are asked, but for the file."""
    common = {"kind": subject.kind, "single_tokens": SINGLE_TOKENS, "threads": usable_cores()}
    if subject.format != "onnx":
        return {**common, "package": _package(), "texts": list(TEXTS), "max_tokens": _longest(subject)}
    if subject.kind in _WITHOUT_TEXT:
        samples = scratch / "samples.npz"
        request = {"inputs": list(subject.inputs), "samples": SAMPLES, "out": str(samples)}
        _asked(native, _INSIDE / "draw_samples.py", request, bench.logs / "emulation-samples.log", bench)
        return {**common, "samples": str(samples), "inputs": [port["name"] for port in subject.inputs]}
    return {**common, "texts": _tokens(subject, bench), "head_width": subject.head_width}


def _tokens(subject: EmulatedSubject, bench: Bench) -> list[dict[str, Any]]:
    """Token ids and types of the texts, by edgec's own Python."""
    own = Side("own", Path(sys.executable), (), for_tool(os.environ, str(Path(sys.executable).parent)), 300.0)
    tokenizer = (subject.tokenizer or b"").decode("utf-8", "replace")
    pairs = subject.kind == "reranker"
    request = {
        "tokenizer": tokenizer,
        "texts": [list(pair) for pair in PAIRS] if pairs else list(TEXTS),
        "max_tokens": _longest(subject),
    }
    answer = _asked(own, _INSIDE / "token_ids.py", request, bench.logs / "emulation-tokens.log", bench)
    texts: list[dict[str, Any]] = answer["texts"]
    return texts


def _longest(subject: EmulatedSubject) -> int:
    """Tokens of a text, or of a reranker's pair of texts in ONNX: no more than the model takes."""
    most = 2 * MAX_TOKENS if (subject.format, subject.kind) == ("onnx", "reranker") else MAX_TOKENS
    if subject.context is None or subject.kind in _WITHOUT_TEXT:
        return most
    return min(most, subject.context)


def _asked(side: Side, script: Path, request: Mapping[str, Any], log: Path, bench: Bench) -> dict[str, Any]:
    answer = Answer(f"emulation, {side.name} run", bench.report)
    run_script(
        side.python, script, request, on_line=answer.take, log=log, timeout_s=side.timeout_s, env=side.env,
        launcher=side.launcher,
    )  # fmt: skip
    return answer.result(script, log)


def _died(error: ToolEndedError, side: Side, subject: EmulatedSubject, log: Path) -> ToolError:
    said = error.diagnostics[0].message
    if error.code is None:
        hint = "emulation is slow, and takes seconds for each token of a large model: leave it out for this one"
    elif error.code == -signal.SIGILL and side.launcher:
        hint = f"the runtime has instructions that {subject.cpu} has not: it would die on the device as well"
    elif error.code < 0 and side.launcher:
        hint = "a newer qemu may run it (onnxruntime 1.32 dies under qemu 7.2, and runs under 10)"
    elif error.code > 0 and subject.kind in _WITHOUT_TEXT:
        hint = f"{_DRAWN}: see the end of its output, and leave out the emulation of this artifact if that is why"
    else:
        hint = "see the end of its output"
    return ToolError.of(f"the {side.name} run of {subject.name} failed: {said}", hint=f"{hint}; the log is {log}")


def _key(subject: EmulatedSubject, qemu: Qemu, root: Root) -> str:
    """Of all that what is found depends on."""
    tokenizer = None if subject.tokenizer is None else sha256_bytes(subject.tokenizer)
    made_of = {
        "files": [sha256_file(path) for path in subject.files],
        "root": root.digest,
        "qemu": qemu.version,
        "cpu": subject.cpu,
        "kind": subject.kind,
        "prompts": [*TEXTS, _longest(subject), SINGLE_TOKENS, tokenizer],
        "inputs": [SAMPLES, subject.head_width, *subject.inputs],
        "machine": platform.machine(),
        "edgec": edgec.__version__,
        "revision": _REVISION,
    }
    return sha256_json(made_of).removeprefix("sha256:")


def _read(kept: Path) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() >= _FOUND else None


def _package() -> str:
    """The folder from which `edgec` is imported."""
    return str(Path(edgec.__file__).resolve().parents[1])
