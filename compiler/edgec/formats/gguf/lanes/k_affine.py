"""Q2_K, Q4_K and Q5_K: blocks of 256 with a scale and a minimum per sub-block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgec.formats.gguf.lanes import affine, packing
from edgec.formats.gguf.lanes.blocks import Bytes, Floats, Rows, steps_around, steps_of, store_halves
from edgec.formats.gguf.lanes.indices import index_by_positive_fit, index_by_top
from edgec.formats.gguf.lanes.levels import set_affine
from edgec.formats.gguf.lanes.tile import Weights, padded
from edgec.formats.gguf.types import TensorType

_BLOCK = 256


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


def quantize(rows: Rows) -> bool:
    """Quantize `rows` with ggml's bytes; whether all numbers in them are finite."""
    form, packed = _FORMS[rows.type], rows.packed
    fits = _search(rows, form)
    factors, index = _index(rows, form, fits)
    at = 80 if rows.type is TensorType.Q2_K else 0
    finite = [store_halves(factors[i], packed, at + 2 * i) for i in range(2)]
    if rows.type is TensorType.Q2_K:
        packing.pack_index_nibbles(index[0], index[1], packed, 0)
    else:
        packing.pack_six_bit_pairs(index[0], index[1], packed, 4)
    scale, low = (factors[:, :, None] * index).reshape(2, -1)
    levels, top = np.empty(rows.values.size, np.uint8), np.float32(form.top)
    inverse, base, bounded = fits[affine.INVERSE], fits[affine.BASE], rows.importance is not None
    set_affine(rows.flat, form.sub, scale, low, inverse, base, top, bounded, levels)
    _pack_levels(rows, levels.reshape(-1, _BLOCK))
    return all(finite)


def _search(rows: Rows, form: _Form) -> Floats:
    subs = rows.subs(form.sub)
    fits = np.empty((affine.ROWS, padded(len(subs))), np.float32)
    if rows.importance is None:
        kind, steps, absolute = form.weights, form.steps, form.absolute
    else:
        kind, steps, absolute = Weights.ENERGY, steps_of(-0.9, 0.05, 37, form.top), False
    means = rows.means(form.sub, _BLOCK, form.mean_factor, _BLOCK)
    top, bounded = np.float32(form.top), rows.importance is not None
    affine.search(subs, int(kind), rows.weights(form.sub), means, steps, top, absolute, bounded, fits)
    return fits


def _index(rows: Rows, form: _Form, fits: Floats) -> tuple[Floats, Bytes]:
    """The factors (2, blocks) of scales and minima, and their indices (2, blocks, sub-blocks)."""
    shape = (rows.values.size // _BLOCK, _BLOCK // form.sub)
    count = shape[0] * shape[1]
    factors, index = np.empty((2, shape[0]), np.float32), np.empty((2, *shape), np.uint8)
    top = np.float32(form.index_top)
    for i, values in enumerate((fits[affine.SCALE, :count], -fits[affine.LOW, :count])):
        if rows.importance is None:
            index_by_top(values.reshape(shape), top, factors[i], index[i])
        else:
            weights = fits[affine.WEIGHT, :count].reshape(shape)
            steps = steps_around(form.index_top, 4)
            index_by_positive_fit(values.reshape(shape), weights, steps, top, factors[i], index[i])
    # Where ggml does not cap a negative scale's byte, it mixes its bits into its neighbours'.
    if rows.type is TensorType.Q5_K or (rows.type is TensorType.Q4_K and rows.importance is None):
        np.minimum(index, np.uint8(form.index_top), out=index)
    return factors, index


def _pack_levels(rows: Rows, levels: Bytes) -> None:
    if rows.type is TensorType.Q2_K:
        packing.pack_pairs(levels, 0, rows.packed, 16)
        return
    if rows.type is TensorType.Q5_K:
        packing.pack_planes(levels, 4, rows.packed, 16)
    packing.pack_nibbles(levels, 32, rows.packed, rows.type.block_bytes - 128)
