"""Runs the toolchain `optimum`: a user's graph beside outputs that another runtime gave, and left in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgec.events import Reporter
from edgec.formats.onnx.agreement import agreement_of
from edgec.formats.onnx.faults import require_sound
from edgec.formats.onnx.graph_run import Compared
from edgec.formats.onnx.run import answer_of
from edgec.formats.tool_files import scratch_in
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

RECORDED_SCRIPT = Path(__file__).parent / "inside" / "compare_recorded.py"
_SCRATCH = ".recorded-scratch"
_TIMEOUT_S = 1800


def compare_recorded(
    environment: Environment,
    reference: Path,
    recorded: Path,
    samples: Sequence[str],
    scratch: Path,
    *,
    memory_mib: int,
    report: Reporter,
    log: Path,
    script: Path = RECORDED_SCRIPT,
) -> Compared:
    """Runs `reference` on the samples. Raises ToolError: died, hung, or an answer of another form."""
    with scratch_in(scratch, _SCRATCH) as folder:
        request = {
            "reference": str(reference.resolve()),
            "recorded": str(recorded.resolve()),
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
