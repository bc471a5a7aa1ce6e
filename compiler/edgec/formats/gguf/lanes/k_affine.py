"""Q2_K, Q4_K and Q5_K: blocks of 256 with a scale and a minimum per sub-block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.formats.gguf.lanes import affine, packing
from edgec.formats.gguf.lanes.blocks import (
    NO_MEANS,
    Bytes,
    Flags,
    Floats,
    Rows,
    means_of,
    special_blocks,
    steps_of,
    to_halves,
)
from edgec.formats.gguf.lanes.indices import index_by_positive_fit, index_by_top
from edgec.formats.gguf.lanes.levels import set_affine
from edgec.formats.gguf.lanes.tile import Weights
from edgec.formats.gguf.types import TensorType


@dataclass(frozen=True)
class _Form:
    """One type: elements per sub-block, greatest level and index, and how ggml searches."""

    sub: int
    top: int
    index_top: int
    weights: Weights  # without an importance matrix
    steps: Floats  # without an importance matrix
    absolute: bool  # without an importance matrix: the absolute error instead of the squared one
    mean_factor: float  # with one: ENERGY's mean square times this


_FORMS = {
    TensorType.Q2_K: _Form(16, 3, 15, Weights.MAGNITUDE, steps_of(-0.5, 0.1, 16, 3), True, 1.0),
    TensorType.Q4_K: _Form(32, 15, 63, Weights.SPREAD, steps_of(-1.0, 0.1, 21, 15), False, 2.0),
    TensorType.Q5_K: _Form(32, 31, 63, Weights.SPREAD, steps_of(-0.5, 0.1, 16, 31), False, 2.0),
}


def _index_steps(top: int) -> Floats:
    """make_qp_quants: (0.1 * i) + top for i in -4..4 without 0."""
    return np.array([np.float32(0.1) * np.float32(i) + np.float32(top) for i in range(-4, 5) if i], np.float32)


def quantize(rows: Rows) -> None:
    """Quantize `rows` with ggml's bytes."""
    form = _FORMS[rows.type]
    fits, odd = _search(rows, form)
    per_block = rows.type.block_elements // form.sub
    special = special_blocks(odd, per_block)
    tops = np.empty((2, len(special)), np.float32)
    index = np.empty((2, len(special), per_block), np.uint8)
    values = (fits[affine.SCALE].reshape(-1, per_block), -fits[affine.LOW].reshape(-1, per_block))
    for i in range(2):
        if rows.importance is None:
            index_by_top(values[i], np.float32(form.index_top), tops[i], index[i], special)
        else:
            weights, steps = fits[affine.WEIGHT].reshape(-1, per_block), _index_steps(form.index_top)
            top = np.float32(form.index_top)
            index_by_positive_fit(values[i], weights, steps, top, tops[i], index[i], special)
    halves, factors, too_large = to_halves(tops)
    special |= too_large.any(axis=0)
    scale, low = ((factors[i][:, None] * index[i]).astype(np.float32, copy=False).reshape(-1) for i in range(2))
    levels = np.empty((odd.size, form.sub), np.uint8)
    set_affine(rows.subs(form.sub), fits, scale, low, np.int32(form.top), levels)
    _pack(
        rows.type, np.ascontiguousarray(halves.T).view(np.uint8), index, levels.reshape(len(special), -1), rows.packed
    )
    rows.give_to_ggml(special)


def _search(rows: Rows, form: _Form) -> tuple[Floats, Flags]:
    subs = rows.subs(form.sub)
    fits, odd = np.empty((affine.ROWS, len(subs)), np.float32), np.empty(len(subs), np.bool_)
    if rows.importance is None:
        kind, steps, means, absolute = form.weights, form.steps, NO_MEANS, form.absolute
    else:
        elements = rows.type.block_elements
        kind, steps, absolute = Weights.ENERGY, steps_of(-0.9, 0.05, 37, form.top), False
        means = means_of(rows.blocks, form.mean_factor, elements, elements // form.sub)
    importance, top = rows.columns_importance, np.float32(form.top)
    affine.search(subs, int(kind), importance, means, steps, top, absolute, fits, odd)
    return fits, odd


def _pack(tensor_type: TensorType, halves: Bytes, index: Bytes, levels: Bytes, packed: Bytes) -> None:
    if tensor_type is TensorType.Q2_K:
        packed[:, :16] = index[0] | index[1] << 4
        packing.pack_pairs(levels, 0, packed, 16)
        packed[:, 80:] = halves
        return
    packed[:, :4] = halves
    packing.pack_six_bit_pairs(index[0], index[1], packed, 4)
    if tensor_type is TensorType.Q5_K:
        packing.pack_planes(levels, 4, packed, 16)
    packing.pack_nibbles(levels, 32, packed, packed.shape[1] - 128)
