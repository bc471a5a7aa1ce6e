"""Runs the toolchain `rkllm`: a checkpoint compiled for the NPU and simulated, in one process.

Rules: return codes are checked and not believed: the file is required and must be of a size that 8 bits can have; what
a killed run left is removed by the next. Never run with the toolkit itself, which is closed and which nobody here has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.errors import ToolError
from edgec.events import Reporter
from edgec.formats.rkllm.layout import RkllmLayout
from edgec.formats.tool_files import keep, require_file, scratch_in
from edgec.quantize.architecture import Decoder
from edgec.toolchain.cores import usable_cores
from edgec.toolchain.environments import Environment, run_json

TOOLCHAIN = "rkllm"
PLATFORM = "rk3588"
LOGITS_FILE = "simulated.npy"
BUILD_SCRIPT = Path(__file__).parent / "inside" / "build_rkllm.py"
_SCRATCH = ".rkllm-scratch"
_DATASET = "dataset.json"
# A checkpoint of some billions in float32 on a few cores: an estimate.
_TIMEOUT_S = 12 * 3600
_FIXED_MIB, _COPIES, _FLOAT_BYTES = 2000, 2, 4


@dataclass(frozen=True)
class Windows:
    """What is simulated: token ids of equal length, and from which token of each on predictions count."""

    ids: Sequence[Sequence[int]]
    scored_from: int
    vocabulary: int


def logits_bytes(windows: int, tokens: int, vocabulary: int) -> int:
    """Bytes in float16 of the logits of so many windows, of whose tokens the second half is scored."""
    return windows * (tokens - tokens // 2) * vocabulary * 2


def build_memory_mib(decoder: Decoder) -> int:
    """What compiling and simulating needs: an estimate, not measured. Weights in float32 twice, and the toolkit."""
    return _FIXED_MIB + (_COPIES * _FLOAT_BYTES * decoder.parameters >> 20)


def compile_rkllm(
    environment: Environment,
    checkpoint: Path,
    layout: RkllmLayout,
    out: Path,
    *,
    dataset: Sequence[Mapping[str, str]],
    windows: Windows,
    npu_cores: int,
    memory_mib: int,
    report: Reporter,
    log: Path,
    script: Path = BUILD_SCRIPT,
    timeout_s: float = _TIMEOUT_S,
) -> Mapping[str, str]:
    """Writes `layout.file` and the simulation's logits into `out`; returns versions of what made them.

    `dataset`: prompts with their answers. Raises ToolError: the process died, hung, or wrote what it must not.
    """
    with scratch_in(out, _SCRATCH) as scratch:
        # In ASCII, as the toolkit's own examples write it.
        (scratch / _DATASET).write_text(json.dumps([dict(row) for row in dataset]), encoding="ascii")
        made, logits = scratch / layout.file, scratch / LOGITS_FILE
        request = {
            "checkpoint": str(checkpoint.resolve()),
            "scratch": str(scratch.resolve()),
            "dataset": str((scratch / _DATASET).resolve()),
            "out": str(made.resolve()),
            "logits": str(logits.resolve()),
            "scheme": layout.scheme,
            "platform": PLATFORM,
            "npu_cores": npu_cores,
            "max_context": layout.context,
            "windows": [list(ids) for ids in windows.ids],
            "scored_from": windows.scored_from,
            "vocabulary": windows.vocabulary,
            "threads": usable_cores(),
        }
        answer = run_json(
            environment, script, request, timeout_s=timeout_s, log=log, memory_mib=memory_mib, report=report
        )
        _require(made, layout, log)
        require_file(logits, "the simulation's logits", log, missing=f"a file {LOGITS_FILE}")
        versions = _versions(answer, log)
        for path in (made, logits):
            keep(path, out / path.name)
    return versions


def _require(made: Path, layout: RkllmLayout, log: Path) -> None:
    require_file(made, "RKLLM's toolkit", log, missing=f"a file {made.name}", most_bytes=layout.size_bytes)
    size = made.stat().st_size
    if size < layout.least_bytes:
        raise ToolError.of(
            f"RKLLM's toolkit wrote {size} bytes, and the weights alone take {layout.least_bytes} in 8 bits",
            hint=f"the whole output is in {log}",
        )


def _versions(answer: Mapping[str, Any], log: Path) -> Mapping[str, str]:
    versions = answer.get("versions")
    if not isinstance(versions, dict) or "rkllm-toolkit" not in versions:
        raise ToolError.of(f"{BUILD_SCRIPT.name} does not say what it ran on", hint=f"the whole output is in {log}")
    return {str(name): str(number) for name, number in versions.items()}
