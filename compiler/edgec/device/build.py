"""Runs the vendor's engine builder and believes none of what it says: not its exit code, not its log, not its folder.

Rule: there is an engine only when the process ended well, its log holds no failure, and every file is there, is large
enough and says what it must. Whatever went wrong, the message tells what was seen and where the log is.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.bundle.finalize_plan import Build, FinalizePlan
from edgec.device.vendor import Vendor
from edgec.errors import DeviceError
from edgec.events import Progress, Reporter
from edgec.toolchain.dialogue import lifeline, program_arguments
from edgec.toolchain.memory import oom_kills
from edgec.toolchain.process import ToolEndedError, run_tool

ACTION = "build engine"
_LOOK_EVERY_S = 1.0
_SHOWN_CHARS = 160
_TAIL_LINES = 8
_MEMORY_HINT = (
    "give it more memory: end other programs (a desktop first), add swap, or build a bundle with a shorter context or "
    "a smaller batch"
)


@dataclass(frozen=True)
class BuildFacts:
    """What is recorded of a build. `oom_kills`: processes the kernel ended meanwhile, None where it does not tell."""

    command: tuple[str, ...]
    wall_s: float
    oom_kills: int | None


def build_engine(
    plan: FinalizePlan, vendor: Vendor, *, model: Path, out: Path, log: Path, report: Reporter
) -> BuildFacts:
    """Builds the engine into the empty folder `out`. Raises DeviceError."""
    arguments = vendor.arguments(plan.build.arguments(model=str(model), engine=str(out)))
    before, started = oom_kills(), time.monotonic()
    with _watched(plan.build, log, report):
        _run(arguments, plan, vendor, log)
    after = oom_kills()
    killed = None if before is None or after is None else after - before
    problems = [*log_problems(plan.build, log), *output_problems(plan.build, out)]
    if problems:
        blame = "; the kernel ended a process meanwhile, because memory ran out" if killed else ""
        raise DeviceError.of(
            f"the builder says it succeeded, and it did not: {'; '.join(problems)}{blame}{_tail(log)}",
            hint=f"{_MEMORY_HINT if killed else 'what it said last is above'}; the whole log is in {log}",
        )
    return BuildFacts(tuple(arguments), time.monotonic() - started, killed)


def _run(arguments: list[str], plan: FinalizePlan, vendor: Vendor, log: Path) -> None:
    name = Path(plan.build.command[0]).name
    try:
        with lifeline() as line:
            run_tool(
                program_arguments(Path(sys.executable), arguments),
                log=log,
                timeout_s=plan.build.timeout_s,
                env={**vendor.env, "EDGEC_LIFELINE_FD": str(line)},
                pass_fds=(line,),
            )
    except ToolEndedError as error:
        if error.code is None:
            how, hint = f"did not end within {plan.build.timeout_s} s", "see whether the device is busy or throttled"
        else:
            how = f"was killed by {signal.Signals(-error.code).name}" if error.code < 0 else f"exited with {error.code}"
            hint = _MEMORY_HINT if error.memory else "what it said last is above"
        raise DeviceError.of(
            f"there is no engine: `{name}` {how}{error.memory}{_tail(log)}", hint=f"{hint}; the whole log is in {log}"
        ) from error


def log_problems(build: Build, log: Path) -> list[str]:
    """Failures that the log tells, each once."""
    text = log.read_text(encoding="utf-8", errors="replace")
    found = []
    for phrase in build.failures:
        line = next((line for line in text.splitlines() if phrase in line), None)
        if line is not None:
            found.append(f"its log says {line.strip()[:_SHOWN_CHARS]!r}")
    return list(dict.fromkeys(found))


def output_problems(build: Build, out: Path) -> list[str]:
    """What is wrong with the files in `out`."""
    found = []
    for output in build.outputs:
        path = out / output.path
        if path.is_symlink() or not path.is_file():
            found.append(f"`{output.path}` is missing")
        elif (size_bytes := path.stat().st_size) < output.min_bytes:
            what = "is empty" if size_bytes == 0 else f"has {size_bytes} bytes, less than {output.min_bytes}"
            found.append(f"`{output.path}` {what}")
    # A link's target may go, as the model's folder does after the proof; reading a pipe or a device may never end.
    strange = [p for p in sorted(out.rglob("*")) if p.is_symlink() or not (p.is_file() or p.is_dir())]
    kinds = {path: "a link" if path.is_symlink() else "no plain file" for path in strange}
    found += [f"`{path.relative_to(out)}` is {kind}, and no file of its own" for path, kind in kinds.items()]
    for fact in build.facts:
        with contextlib.suppress(FileNotFoundError):
            value = _value(out / fact.path, fact.keys)
            if value != fact.equals:
                found.append(f"`{fact.path}` says {'.'.join(fact.keys)} {value!r} instead of {fact.equals!r}")
    return found


def _value(path: Path, keys: tuple[str, ...]) -> Any:
    """The value in a JSON file; None when it is not there. Raises FileNotFoundError."""
    try:
        value = json.loads(path.read_bytes())
        for key in keys:
            value = value[key]
    except (ValueError, KeyError, TypeError):
        return None
    return value


@contextlib.contextmanager
def _watched(build: Build, log: Path, report: Reporter) -> Iterator[None]:
    """Reports how far the build is, from its log, until the block ends."""
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(build, log, report, done), name="build-log", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _watch(build: Build, log: Path, report: Reporter, done: threading.Event) -> None:
    started, offset, last, total = time.monotonic(), 0, "", len(build.phases) + 1
    reached: set[str] = set()
    while not done.wait(_LOOK_EVERY_S):
        with contextlib.suppress(OSError), log.open("rb") as file:
            file.seek(offset)
            new = file.read()
            offset += len(new)
            lines = [line.strip() for line in new.decode("utf-8", errors="replace").splitlines()]
            reached |= {phrase for phrase in build.phases for line in lines if phrase in line}
            last = next((line for line in reversed(lines) if line), last)
        minutes, seconds = divmod(int(time.monotonic() - started), 60)
        detail = f"{minutes}:{seconds:02d} {last[:_SHOWN_CHARS]}"
        report(Progress(ACTION, len(reached), total, "phases", detail))


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:] if log.is_file() else []
    return "".join(f"\n  | {line[:_SHOWN_CHARS]}" for line in lines)
