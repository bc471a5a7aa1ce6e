"""Runs Edge-LLM's exporter on a checkpoint and takes what it made, if it is what was planned.

Rules: the exporter works in a scratch folder; its result is checked, read back and compared with the checkpoint weight
by weight before it moves; no exit code is believed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgec.errors import ToolError
from edgec.events import Reporter
from edgec.formats.edgellm.compare import TensorDifference, compare_weights
from edgec.formats.edgellm.layout import EdgeLlmLayout
from edgec.formats.edgellm.onnx_file import DATA_FILE, damaged
from edgec.formats.edgellm.staging import refuse_asymmetric, stage
from edgec.formats.edgellm.structure import StructureFacts, check_structure
from edgec.formats.tool_files import scratch_in
from edgec.source.model import Checkpoint
from edgec.store.atomic import explained, free_bytes, fsync_folder
from edgec.toolchain.environments import Environment, run_json

EXPORTER_SCRIPT = Path(__file__).parent / "inside" / "export_onnx.py"
_SCRATCH = ".exporting"
_PACKAGE = "tensorrt-edgellm"


@dataclass(frozen=True)
class EdgeLlmExport:
    """A finished export. `files`: names in the folder; `tensors`: every weight against the checkpoint's.

    `anonymous_mib`: the exporter's peak of memory that cannot be dropped, which was planned; `peak_mib`: with mapped
    files.
    """

    files: tuple[str, ...]
    structure: StructureFacts
    tensors: tuple[TensorDifference, ...]
    versions: Mapping[str, str]
    peak_mib: int
    anonymous_mib: int


def export_edgellm(
    environment: Environment,
    checkpoint: Checkpoint,
    layout: EdgeLlmLayout,
    out: Path,
    *,
    report: Reporter,
    log: Path,
    action: str = "edgellm",
    script: Path = EXPORTER_SCRIPT,
) -> EdgeLlmExport:
    """Exports `checkpoint` as planned in `layout` into the folder `out`, which is made if it is not there.

    `environment`: the toolchain `layout.version.toolchain`, installed. `script`: what runs in it. Raises ToolError: the
    exporter is of another version, was killed, hung or failed (with the log's path), or made what was not planned;
    InputError for a checkpoint that it would damage. Then `out` has nothing new in it.
    """
    _refuse_other_version(environment, layout)
    refuse_asymmetric(checkpoint)
    with scratch_in(out, _SCRATCH) as scratch:
        _refuse_small_disk(out, layout)
        staged, made = scratch / "checkpoint", scratch / "made"
        stage(checkpoint, layout, staged)
        made.mkdir()
        answer = run_json(
            environment,
            script,
            {"checkpoint": str(staged), "out": str(made), "version": layout.version.number},
            timeout_s=layout.timeout_s,
            log=log,
            memory_mib=layout.memory_mib,
            report=report,
        )
        files = _files(made, layout, log)
        structure = check_structure(made, layout)
        tensors = compare_weights(made, layout.shape, checkpoint, report=report, action=action)
        _move(made, out, files)
    anonymous_mib = int(answer.get("anonymous_mib", 0))
    return EdgeLlmExport(files, structure, tensors, answer.get("versions", {}), answer["peak_mib"], anonymous_mib)


def _refuse_other_version(environment: Environment, layout: EdgeLlmLayout) -> None:
    found, wanted = environment.versions.get(_PACKAGE), layout.version
    if found != wanted.number:
        raise ToolError.of(
            f"the toolchain `{environment.toolchain.name}` has Edge-LLM {found}, and JetPack {wanted.jetpack} on the "
            f"device needs {wanted.number}",
            hint=f"run `edgec toolchain remove {wanted.toolchain}`, then build again",
        )


def _refuse_small_disk(out: Path, layout: EdgeLlmLayout) -> None:
    free = free_bytes(out)
    if free < layout.scratch_bytes:
        raise ToolError.of(
            f"the export needs {layout.scratch_bytes >> 20} MiB of disk, and {free >> 20} MiB are free",
            hint="free space (`edgec clean` empties the store), or set EDGEC_CACHE to a larger disk",
            place=str(out),
        )


def _files(made: Path, layout: EdgeLlmLayout, log: Path) -> tuple[str, ...]:
    """What the exporter made: all planned files, none else, and the weights in the planned size."""
    found = sorted(p.name for p in made.iterdir())
    planned = {f.name: f for f in layout.files}
    missing, strange = sorted(set(planned) - set(found)), sorted(set(found) - set(planned))
    if missing or strange:
        what = f"did not make {', '.join(missing)}" if missing else f"also made {', '.join(strange)}"
        raise ToolError.of(f"Edge-LLM's exporter ended, but {what}", hint=f"the whole output is in {log}")
    for name, file in planned.items():
        size = (made / name).stat().st_size
        if (file.exact and size != file.size_bytes) or size > file.size_bytes:
            raise damaged(f"has {size} bytes, and {file.size_bytes} were planned", made / name)
    if (made / DATA_FILE).is_symlink():
        raise damaged("is a link", made / DATA_FILE)
    return tuple(found)


def _move(made: Path, out: Path, files: tuple[str, ...]) -> None:
    with explained(out):
        for name in files:
            with (made / name).open("rb+") as file:
                os.fsync(file.fileno())
            (made / name).chmod(0o644)
            (made / name).replace(out / name)
        fsync_folder(out)
