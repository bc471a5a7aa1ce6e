"""The other way to quantized weights: NVIDIA's Model Optimizer, in its own toolchain.

Rule: what it wrote is opened, matched with the source and read to the end before it counts; its exit code says nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from edgec.errors import EdgecError, InputError, ToolError
from edgec.events import Reporter
from edgec.quantize.calibration import calibration_windows
from edgec.quantize.forward import blocks
from edgec.quantize.layout import QuantizedLayout
from edgec.quantize.linears import LinearInfo
from edgec.quantize.output import LinearError
from edgec.quantize.run import QuantizedCheckpoint
from edgec.quantize.weights import Weights, open_weights
from edgec.source.layout import CONFIG
from edgec.source.local import open_local
from edgec.source.model import Checkpoint
from edgec.source.quantization import MODELOPT_CONFIG
from edgec.store.atomic import explained, write_file
from edgec.toolchain.environments import Environment, run_json

_SCRIPT = Path(__file__).parent / "inside" / "modelopt_export.py"
_METHODS = {"awq": "modelopt_awq", "smoothquant": "modelopt_int8_sq"}
# Beside the model in its own precision: copies of the weights that it makes, measured on docs-llama and rounded up.
_COPIES = 4
_FIXED_MIB = 1536


def modelopt_memory_mib(checkpoint: Checkpoint) -> int:
    """What modelopt needs, which does not stream: whole copies of the model."""
    weights = sum(t.nbytes for t in checkpoint.header.tensors.values())
    return _FIXED_MIB + (_COPIES * weights >> 20)


def quantize_with_modelopt(
    checkpoint: Checkpoint,
    layout: QuantizedLayout,
    calibration: str,
    out: Path,
    *,
    environment: Environment,
    report: Reporter,
    log: Path,
    timeout_s: float,
) -> QuantizedCheckpoint:
    """As `quantize_checkpoint`, by modelopt, whose layouts the result has; begins anew each time.

    `environment`: the toolchain `modelopt`. Raises InputError for a method it is not used for, ToolError when it dies
    or what it wrote is not what was asked for.
    """
    method = layout.settings.method
    if method not in _METHODS:
        raise InputError.of(f"modelopt is not used for {method}", hint="take awq or smoothquant, or edgec's own tool")
    windows = calibration_windows(checkpoint.header, layout.decoder, layout.settings, calibration)
    with explained(out):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
    asked = out.with_name(f"{out.name}.windows.json")
    write_file(asked, json.dumps(windows.tolist()).encode())
    request = {
        "checkpoint": str(checkpoint.root.resolve()),
        "out": str(out.resolve()),
        "windows": str(asked.resolve()),
        "method": method,
        "group_size": layout.settings.group_size,
    }
    try:
        answer = run_json(
            environment,
            _SCRIPT,
            request,
            timeout_s=timeout_s,
            log=log,
            memory_mib=modelopt_memory_mib(checkpoint),
            report=report,
        )
    finally:
        asked.unlink(missing_ok=True)
    _complete(checkpoint, out)
    errors = _checked(checkpoint, layout, out, log)
    facts = {
        "method": method,
        "bits": layout.settings.bits,
        "group_size": layout.settings.group_size if layout.settings.bits == 4 else None,
        "calibration_tokens": int(windows.size),
        "versions": answer["versions"],
    }
    return QuantizedCheckpoint(tuple(sorted(p.name for p in out.iterdir())), errors, facts)


def _complete(checkpoint: Checkpoint, out: Path) -> None:
    """Adds the source's small files that modelopt does not write."""
    for name, data in checkpoint.header.files.items():
        if name not in (CONFIG, MODELOPT_CONFIG, "README.md") and "/" not in name and not (out / name).exists():
            write_file(out / name, data)


def _checked(checkpoint: Checkpoint, layout: QuantizedLayout, out: Path, log: Path) -> tuple[LinearError, ...]:
    """The errors of all linears, each of which is there, has the source's shape and finite weights."""
    try:
        made = open_local(out)
        found = made.header.quantization
        if found is None or found.layout != _METHODS[layout.settings.method]:
            raise _unfit(f"the checkpoint is {found.layout if found else 'not quantized'}", log)
        with open_weights(made) as after, open_weights(checkpoint) as before:
            names = [n for n in before.linears if n.startswith("model.layers.")]
            return tuple(_error(before, after, before.linear(name), layout, log) for name in names)
    except InputError as error:
        raise _unfit(str(error), log) from error


def _error(before: Weights, after: Weights, info: LinearInfo, layout: QuantizedLayout, log: Path) -> LinearError:
    """How far the linear is from its source, as far as its scale for the inputs lets it be compared."""
    made = after.linear(info.name)
    if (made.out_features, made.in_features) != (info.out_features, info.in_features):
        raise _unfit(f"{info.name} has another shape than in the source", log)
    if made.bits != layout.settings.bits or (made.bits == 4 and made.group_size != layout.settings.group_size):
        raise _unfit(f"{info.name} has {made.bits} bits in groups of {made.group_size}", log)
    pre = after.vector(f"{info.name}.pre_quant_scale") if made.has_pre_scale else np.ones(info.in_features, np.float32)
    error = power = 0.0
    for begin, end in blocks(info.out_features, info.in_features):
        tensor = f"{info.name}.weight"
        values = before.rows(tensor, begin, end)
        error += float(np.sum((after.rows(tensor, begin, end) * pre - values) ** 2, dtype=np.float64))
        power += float(np.sum(values**2, dtype=np.float64))
    return LinearError(info.name, float(np.sqrt(error / power)) if power else 0.0)


def _unfit(what: str, log: Path) -> EdgecError:
    return ToolError.of(f"modelopt ended, but {what}", hint=f"read its log: {log}")
