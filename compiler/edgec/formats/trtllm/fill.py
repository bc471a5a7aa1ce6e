"""What the rows of a planned tensor are, from the source's weights.

Rule: a slab's bytes depend on nothing but its rows; fused tensors take one scale, so their parts must agree where the
engine reads only one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgec.errors import EdgecError, InputError
from edgec.formats.trtllm.numbers import pack_nibbles, to_half
from edgec.formats.trtllm.tensors import Kind, Part, TensorPlan
from edgec.quantize.weights import Weights

# Largest magnitudes of K and of V in each layer.
KvRanges = Sequence[tuple[float, float]]

_INT8_LARGEST = 127.0
# Elements of a slab: 8 MiB as float32, and what the conversion keeps beside them.
SLAB_ELEMENTS = 1 << 21
# What quantized sources are read in: a word of eight codes.
_ROW_STEP = 8


@dataclass(frozen=True)
class Slab:
    """Rows [begin, end) of `part`; `first_row`: where they begin in the tensor, in the rows of the file."""

    tensor: TensorPlan
    part: Part
    begin: int
    end: int
    first_row: int

    @property
    def nbytes(self) -> int:
        """Bytes it takes in the file."""
        per_row = self.tensor.spec.row_bytes
        return (self.end - self.begin) * per_row // (2 if self.tensor.kind is Kind.CODES4 else 1)


def slabs_of(tensor: TensorPlan) -> list[Slab]:
    """The slabs of a tensor, in order; one for what is small."""
    if tensor.kind in (Kind.PRE_SCALE, Kind.INPUT_SCALE, Kind.KV_SCALE):
        return [Slab(tensor, tensor.parts[0], 0, tensor.spec.shape[0], 0)]
    halving = 2 if tensor.kind is Kind.CODES4 else 1
    step = max(1, SLAB_ELEMENTS // (tensor.columns * _ROW_STEP)) * _ROW_STEP
    slabs: list[Slab] = []
    first = 0
    for part in tensor.parts:
        slabs += [
            Slab(tensor, part, begin, min(begin + step, part.rows), (first + begin) // halving)
            for begin in range(0, part.rows, step)
        ]
        first += part.rows
    return slabs


def slab_rows(slab: Slab, weights: Weights, kv_scales: Mapping[str, float]) -> NDArray[np.generic]:
    """The rows of `slab` as the file holds them. `kv_scales`: by the tensor's name. Raises InputError."""
    match slab.tensor.kind:
        case Kind.HALF:
            return to_half(weights.rows(slab.part.source, slab.begin, slab.end), slab.part.source)
        case Kind.VECTOR:
            return to_half(weights.vector(slab.part.source)[slab.begin : slab.end], slab.part.source)
        case Kind.PRE_SCALE:
            return _pre_scale(slab.tensor, weights)
        case Kind.INPUT_SCALE:
            return np.array([max(_input_scale(p, weights) for p in slab.tensor.parts)], np.float32)
        case Kind.KV_SCALE:
            return np.array([kv_scales[slab.tensor.spec.name]], np.float32)
        case _:
            return _quantized_rows(slab, weights)


def _quantized_rows(slab: Slab, weights: Weights) -> NDArray[np.generic]:
    place = slab.part.source, slab.begin, slab.end
    if slab.tensor.kind in (Kind.GROUP_SCALES, Kind.CHANNEL_SCALES):
        scales = weights.scales(*place)
        return scales if slab.tensor.kind is Kind.GROUP_SCALES else scales.reshape(-1)
    codes = weights.codes(*place)
    return pack_nibbles(codes) if slab.tensor.kind is Kind.CODES4 else codes


def kv_scales(names: Mapping[int, str], ranges: KvRanges | None) -> dict[str, float]:
    """The scale of each layer's cache: K and V share one, the larger range over 127. Raises InputError."""
    if not names:
        return {}
    if ranges is None or len(ranges) != len(names):
        raise InputError.of(
            f"an INT8 KV cache of {len(names)} layers needs as many ranges of K and V, "
            f"and {0 if ranges is None else len(ranges)} are given",
            hint="measure them on the calibration text",
        )
    scales = {name: max(ranges[layer]) / _INT8_LARGEST for layer, name in names.items()}
    for layer, name in names.items():
        if not 0 < scales[name] < float("inf"):
            raise InputError.of(
                f"the ranges of K and V in layer {layer} are {ranges[layer][0]:g} and {ranges[layer][1]:g}",
                hint="measure them again, on a calibration text of ordinary sentences",
            )
    return scales


def _pre_scale(tensor: TensorPlan, weights: Weights) -> NDArray[np.float16]:
    """The parts of a fused linear have one input, so one factor per channel; ones where it is folded already."""
    columns = tensor.spec.shape[0]
    found = [
        weights.vector(f"{p.source}.pre_quant_scale")
        if weights.linear(p.source).has_pre_scale
        else np.ones(columns, np.float32)
        for p in tensor.parts
    ]
    for part, values in zip(tensor.parts, found, strict=True):
        if not np.array_equal(values, found[0]):
            raise _differs(part, tensor, "pre_quant_scale")
    return to_half(found[0], f"{tensor.parts[0].source}.pre_quant_scale")


def _input_scale(part: Part, weights: Weights) -> float:
    scale = weights.input_scale(part.source)
    if scale is None or not 0 < scale < float("inf"):
        raise InputError.of(
            f"its input has {'no scale' if scale is None else f'the scale {scale:g}'}, and SmoothQuant needs one",
            place=part.source,
            hint="quantize the original checkpoint again, with a calibration text",
        )
    return scale


def _differs(part: Part, tensor: TensorPlan, what: str) -> EdgecError:
    return InputError.of(
        f"its {what} is another one than that of {tensor.parts[0].source}, with which it is joined",
        place=part.source,
        hint="quantize the original checkpoint again; query, key and value need one scale for their common input",
    )
