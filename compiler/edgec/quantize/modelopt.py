"""The other way to quantized weights: NVIDIA's Model Optimizer, in its own toolchain.

Rule: what it wrote is opened, matched with the source and read to the end before it counts; its exit code says nothing.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgec.errors import EdgecError, InputError, ToolError
from edgec.events import Event, Progress, Reporter
from edgec.quantize.calibration import calibration_windows
from edgec.quantize.forward import Floats, blocks
from edgec.quantize.layout import QuantizedLayout
from edgec.quantize.linears import LinearInfo
from edgec.quantize.output import LinearError
from edgec.quantize.run import QuantizedCheckpoint
from edgec.quantize.weights import Weights, open_weights
from edgec.source.layout import CONFIG
from edgec.source.local import open_local
from edgec.source.model import Checkpoint, CheckpointHeader
from edgec.source.quantization import MODELOPT_CONFIG
from edgec.store.atomic import explained, write_file
from edgec.toolchain.environments import Environment, run_json

_SCRIPT = Path(__file__).parent / "inside" / "modelopt_export.py"
_METHODS = {"awq": "modelopt_awq", "smoothquant": "modelopt_int8_sq"}
# 674 MiB were measured on docs-llama, whose weights have 11; how many copies a large model takes is an estimate.
_COPIES = 4
_FIXED_MIB = 1536
# A limit against a tool that hangs; a search of an 8 B model's scales takes hours on few cores.
TIMEOUT_S = 2 * 24 * 3600.0


def modelopt_memory_mib(header: CheckpointHeader) -> int:
    """What modelopt needs, which does not stream: whole copies of the model."""
    weights = sum(t.nbytes for t in header.tensors.values())
    return _FIXED_MIB + (_COPIES * weights >> 20)


def quantize_with_modelopt(
    environment: Environment,
    checkpoint: Checkpoint,
    layout: QuantizedLayout,
    calibration: str,
    out: Path,
    *,
    report: Reporter,
    action: str,
    log: Path,
    timeout_s: float = TIMEOUT_S,
) -> QuantizedCheckpoint:
    """As `quantize_checkpoint`, by modelopt, whose layouts the result has; begins anew each time.

    `environment`: the toolchain `modelopt`. Raises InputError for a method it is not used for, ToolError when it dies
    or what it wrote is not what was asked for.
    """
    method = layout.settings.method
    if method not in _METHODS:
        raise InputError.of(f"modelopt is not used for {method}", hint="take awq or smoothquant, or edgec's own tool")
    windows = calibration_windows(checkpoint.header, layout.decoder, layout.settings, calibration)
    _empty(out)
    asked = out / "windows.json"
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
            memory_mib=modelopt_memory_mib(checkpoint.header),
            report=_named(report, action),
        )
    finally:
        asked.unlink(missing_ok=True)
    _complete(checkpoint, out)
    errors = checked(checkpoint, layout, out, log)
    facts = {
        "method": method,
        "bits": layout.settings.bits,
        "group_size": layout.settings.group_size if layout.settings.bits == 4 else None,
        "calibration_tokens": int(windows.size),
        "versions": answer["versions"],
    }
    return QuantizedCheckpoint(tuple(sorted(p.name for p in out.iterdir())), errors, facts)


def _named(report: Reporter, action: str) -> Reporter:
    """`report`, with the action's name instead of the script's."""

    def named(event: Event, /) -> None:
        report(replace(event, action=action) if isinstance(event, Progress) else event)

    return named


def _empty(folder: Path) -> None:
    """Removes what an earlier run left in the folder."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _complete(checkpoint: Checkpoint, out: Path) -> None:
    """Adds the source's small files that modelopt does not write."""
    for name, data in checkpoint.header.files.items():
        if name not in (CONFIG, MODELOPT_CONFIG, "README.md") and "/" not in name and not (out / name).exists():
            write_file(out / name, data)


def checked(checkpoint: Checkpoint, layout: QuantizedLayout, out: Path, log: Path) -> tuple[LinearError, ...]:
    """The errors of all linears in the folder `out`; each must be there, of the source's shape, with finite weights.

    Raises ToolError, naming `log`, for a result that is not what was asked for.
    """
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
    """How far the linear is from its source, with the scales of its inputs taken back where they are known.

    modelopt folds them into norms, which tell them; what it may fold into other linears counts as error.
    """
    made = after.linear(info.name)
    if (made.out_features, made.in_features) != (info.out_features, info.in_features):
        raise _unfit(f"{info.name} has another shape than in the source", log)
    if made.bits != layout.settings.bits or (made.bits == 4 and made.group_size != layout.settings.group_size):
        raise _unfit(f"{info.name} has {made.bits} bits in groups of {made.group_size}", log)
    pre = after.vector(f"{info.name}.pre_quant_scale") if made.has_pre_scale else np.ones(info.in_features, np.float32)
    pre *= _norm_ratio(before, after, info.name)
    error = power = 0.0
    for begin, end in blocks(info.out_features, info.in_features):
        tensor = f"{info.name}.weight"
        values = before.rows(tensor, begin, end)
        error += float(np.sum((after.rows(tensor, begin, end) * pre - values) ** 2, dtype=np.float64))
        power += float(np.sum(values**2, dtype=np.float64))
    return LinearError(info.name, float(np.sqrt(error / power)) if power else 0.0)


def _norm_ratio(before: Weights, after: Weights, name: str) -> Floats:
    """What the norm before the linear is multiplied with now; 1 where there is none, or a weight of it is 0."""
    layer, _, linear = name.partition(".self_attn.") if ".self_attn." in name else name.partition(".mlp.")
    if linear in ("o_proj", "down_proj"):
        return np.ones(1, np.float32)
    norm = "post_attention_layernorm" if ".mlp." in name else "input_layernorm"
    was, now = before.vector(f"{layer}.{norm}.weight"), after.vector(f"{layer}.{norm}.weight")
    return np.where(was != 0, now / np.where(was != 0, was, 1), 1).astype(np.float32)


def _unfit(what: str, log: Path) -> EdgecError:
    return ToolError.of(f"modelopt ended, but {what}", hint=f"read its log: {log}")
