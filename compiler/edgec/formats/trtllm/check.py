"""Compares a written checkpoint with its plan and with the source's weights.

Rule: the artifact is read back from the disk; every tensor is compared whole, in bounded memory; what is wrong with the
structure is a ProofError with all that was found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgec.errors import Diagnostic, ProofError
from edgec.events import Progress, Reporter, silent
from edgec.formats.trtllm.fill import SLAB_ELEMENTS
from edgec.formats.trtllm.layout import CONFIG_FILE, WEIGHTS_FILE, TrtLlmLayout
from edgec.formats.trtllm.view import CheckpointView, ViewedTensor
from edgec.quantize.weights import Weights

_AGAIN = "build the artifact again; if it comes back, the disk or the memory of this machine is faulty"
_STEP = 8
# Bits of a weight in the engine -> the type, as reports name it.
_LABELS = {16: "f16", 8: "i8", 4: "i4"}


@dataclass(frozen=True)
class TensorDifference:
    """How far a tensor is from the source's, relative to the source's root mean square. `type`: in the engine."""

    name: str
    type: str
    elements: int
    bytes: int
    relative_rmse: float


def check_against_source(
    weights: Weights, layout: TrtLlmLayout, folder: Path, *, report: Reporter = silent, action: str = "check"
) -> tuple[TensorDifference, ...]:
    """The differences of every tensor, by the source's names, of the checkpoint in `folder`.

    Compared with: the source's weights; for a quantized source, what its codes and scales say. Raises ProofError when
    files, names, types, shapes or config.json are not those of the plan.
    """
    _check_structure(layout, folder)
    found: list[TensorDifference] = []
    with CheckpointView(folder) as view:
        tensors = list(view.tensors.values())
        total = sum(math.prod(t.shape) for t in tensors)
        done = 0
        for tensor in tensors:
            found.append(_difference(view, tensor, weights, layout))
            done += found[-1].elements
            report(Progress(action, done, total, "elements", tensor.name))
    return tuple(found)


def _check_structure(layout: TrtLlmLayout, folder: Path) -> None:
    wrong: list[Diagnostic] = []
    expected = {CONFIG_FILE: layout.config, WEIGHTS_FILE: layout.file.header}
    sizes = {CONFIG_FILE: len(layout.config), WEIGHTS_FILE: layout.file.size_bytes}
    for name, begin in expected.items():
        try:
            with (folder / name).open("rb") as file:
                stands, size = file.read(len(begin)), (folder / name).stat().st_size
        except OSError as error:
            wrong.append(Diagnostic(f"cannot be read: {error.strerror}", _AGAIN, place=name))
            continue
        if size != sizes[name]:
            wrong.append(Diagnostic(f"has {size} bytes, {sizes[name]} were planned", _AGAIN, place=name))
        elif stands != begin:
            wrong.append(Diagnostic("is not what was planned", _AGAIN, place=name))
    if wrong:
        raise ProofError(*wrong)


def _difference(view: CheckpointView, tensor: ViewedTensor, weights: Weights, layout: TrtLlmLayout) -> TensorDifference:
    columns = tensor.shape[1] if len(tensor.shape) == 2 else 1
    step = max(1, SLAB_ELEMENTS // (_STEP * columns)) * _STEP
    error = source = 0.0
    for begin in range(0, tensor.shape[0], step):
        end = min(begin + step, tensor.shape[0])
        wanted = _wanted(tensor, weights, layout, begin, end)
        missed = view.rows(tensor.name, begin, end).astype(np.float32) - wanted
        error += float(np.vdot(missed, missed))
        source += float(np.vdot(wanted, wanted))
    elements = math.prod(tensor.shape)
    bits = layout.scheme.engine_bits if tensor.linear else 16
    rmse = math.sqrt(error / source) if source else math.sqrt(error)
    return TensorDifference(tensor.name, _LABELS[bits], elements, elements * bits // 8, rmse)


def _wanted(tensor: ViewedTensor, weights: Weights, layout: TrtLlmLayout, begin: int, end: int) -> NDArray[np.float32]:
    if len(tensor.shape) == 1:
        return weights.vector(tensor.name)[begin:end]
    name = "model.embed_tokens.weight" if tensor.name == "lm_head.weight" and layout.shape.tied else tensor.name
    return weights.rows(name, begin, end)
