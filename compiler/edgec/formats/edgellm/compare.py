"""Compares an export with the checkpoint it was made from, weight by weight.

Rule: codes must be the same, and every other number the same after rounding to what the export stores (float16; float32
for the scales of INT8). An exporter that changed anything else damaged the model, and that is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgec.errors import ToolError
from edgec.events import Progress, Reporter
from edgec.formats.edgellm.decode import slabs
from edgec.formats.edgellm.exported import EMBEDDING, HEAD, ExportedWeights
from edgec.formats.edgellm.onnx_file import DATA_FILE
from edgec.formats.edgellm.shape import Linear, ModelShape
from edgec.quantize.weights import LinearInfo, Weights, open_weights
from edgec.source.model import Checkpoint

_SHOWN = 5


@dataclass(frozen=True)
class TensorDifference:
    """An exported weight against the checkpoint's. `values`: how many were compared; `different`: beyond rounding;
    `max_abs`: the largest difference of the numbers that a kernel uses, rounding included.
    """

    name: str
    values: int
    different: int
    max_abs: float


def compare_weights(
    folder: Path, shape: ModelShape, checkpoint: Checkpoint, *, report: Reporter, action: str
) -> tuple[TensorDifference, ...]:
    """Every weight of the export in `folder` against `checkpoint`.

    Raises ToolError for any that is not what the checkpoint says; InputError for a checkpoint that has no such export,
    as with zero points that are not the middle of the codes.
    """
    with ExportedWeights(folder, shape) as exported, open_weights(checkpoint) as weights:
        works = list(_works(exported, weights))
        found = []
        for done, work in enumerate(works):
            found.append(work())
            report(Progress(action, done + 1, len(works), "tensors", found[-1].name))
    wrong = [d for d in found if d.different]
    if wrong:
        names = ", ".join(f"{d.name} ({d.different} of {d.values} values)" for d in wrong[:_SHOWN])
        raise ToolError.of(
            f"Edge-LLM's exporter changed {len(wrong)} of {len(found)} tensors: {names}",
            hint="report it with the log of the export; nothing was stored",
            place=str(folder / DATA_FILE),
        )
    return tuple(found)


_Work = Callable[[], TensorDifference]


def _works(exported: ExportedWeights, weights: Weights) -> list[_Work]:
    shape = exported.shape
    table = Linear(EMBEDDING, shape.vocabulary, shape.hidden)
    works: list[_Work] = [lambda: _plain(EMBEDDING, table, exported.embedding, weights, EMBEDDING)]
    for linear in exported.linears:
        works.append(lambda linear=linear: _linear(linear, exported, weights))  # type: ignore[misc]
    for tensor in shape.vectors():
        works.append(lambda t=tensor: _vector(t, exported.norm(t), weights.vector(t)))  # type: ignore[misc]
    return works


def _linear(linear: Linear, exported: ExportedWeights, weights: Weights) -> TensorDifference:
    name = linear.name
    # A tied output layer has no tensor of its own.
    tensor = f"{name}.weight" if name != HEAD or (weights.has(HEAD) and not exported.shape.tied) else EMBEDDING
    info = weights.linears.get(name)
    if info is None or info.bits is None:
        main = _plain(name, linear, lambda b, e: exported.rows(name, b, e), weights, tensor)
    else:
        main = _quantized(linear, info, exported, weights)
    for part, values in (("bias", exported.bias(name)), ("pre_quant_scale", exported.pre_scale(name))):
        main = _with_vector(main, f"{name}.{part}", values, weights)
    return _with_input_scale(main, name, exported, weights)


_Rows = Callable[[int, int], NDArray[np.generic]]


def _plain(name: str, linear: Linear, rows: _Rows, weights: Weights, tensor: str) -> TensorDifference:
    different, max_abs = 0, 0.0
    for begin, end in slabs(linear):
        expected = weights.rows(tensor, begin, end)
        found, off = _apart(rows(begin, end), expected)
        different, max_abs = different + found, max(max_abs, off)
    return TensorDifference(name, linear.out_features * linear.in_features, different, max_abs)


def _quantized(linear: Linear, info: LinearInfo, exported: ExportedWeights, weights: Weights) -> TensorDifference:
    different, max_abs = 0, 0.0
    is_int8 = info.bits == 8
    for begin, end in slabs(linear):
        codes = exported.codes(linear.name, begin, end)
        different += int(np.count_nonzero(codes != weights.codes(linear.name, begin, end)))
        scales, expected = exported.scales(linear.name, begin, end), weights.scales(linear.name, begin, end)
        stored = expected if is_int8 else expected.astype(np.float16).astype(np.float32)
        bad = ~((scales == stored) & np.isfinite(scales) & (scales > 0))
        different += int(np.count_nonzero(bad))
        groups = codes.reshape(end - begin, scales.shape[1], -1).astype(np.float32) * (scales - expected)[:, :, None]
        max_abs = max(max_abs, float(np.abs(groups).max(initial=0.0)))
    return TensorDifference(linear.name, linear.out_features * linear.in_features, different, max_abs)


def _with_vector(
    main: TensorDifference, tensor: str, values: NDArray[np.generic] | None, weights: Weights
) -> TensorDifference:
    """`main`, with a vector that belongs to the linear, on neither side or on both."""
    if not weights.has(tensor):
        # Smoothing by one changes nothing, and the exporter fills it in.
        extra = 0 if values is None else int(np.count_nonzero(values != 1))
        return replace(main, different=main.different + extra)
    if values is None:
        expected = weights.vector(tensor)
        lost = 0 if tensor.endswith("pre_quant_scale") and (expected == 1).all() else expected.size
        return replace(main, different=main.different + lost)
    vector = _vector(tensor, values, weights.vector(tensor))
    return replace(main, values=main.values + vector.values, different=main.different + vector.different)


def _with_input_scale(
    main: TensorDifference, name: str, exported: ExportedWeights, weights: Weights
) -> TensorDifference:
    stored = weights.input_scale(name)
    same = exported.input_scale(name) == (None if stored is None else float(np.float32(stored)))
    return main if same else replace(main, different=main.different + 1)


def _vector(name: str, values: NDArray[np.generic], expected: NDArray[np.float32]) -> TensorDifference:
    different, max_abs = _apart(values, expected)
    return TensorDifference(name, expected.size, different, max_abs)


def _apart(values: NDArray[np.generic], expected: NDArray[np.float32]) -> tuple[int, float]:
    """How many exported values are not the expected ones in float16 (or not finite), and the largest difference."""
    if values.shape != expected.shape:
        return expected.size, float("inf")
    wide = values.astype(np.float32)
    # A bfloat16 weight may be beyond float16: then it is infinite in the export, and wrong.
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = expected.astype(np.float16).astype(np.float32)
    wrong = (wide != rounded) | ~np.isfinite(wide)
    return int(np.count_nonzero(wrong)), float(np.abs(wide - expected).max(initial=0.0))
