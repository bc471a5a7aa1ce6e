"""Scales of input channels, searched so that the outputs of a stage's linears change least: AWQ's and SmoothQuant's.

Rule: scales are folded into what makes the inputs, so the model stays the same function; channels that come from one
producer channel share a scale. Weights are multiplied by the scales, inputs divided.
Sources: Lin et al., AWQ, arXiv 2306.00978; Xiao et al., SmoothQuant, arXiv 2211.10438.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.quantize.input_statistics import InputStatistics
from edgec.quantize.rounding import round_plain

Floats = NDArray[np.float32]

_EXPONENTS = tuple(i / 20 for i in range(21))
_SMOOTH_EXPONENTS = tuple(i / 20 for i in range(0, 21, 2))
# Scales further apart than this would cost float16 norms their precision.
_WIDEST = np.float32(2**10)
_TINY = np.float32(1e-8)
INT8_HIGHEST = np.float32(127)


def awq_scales(
    matrices: Sequence[Floats], inputs: InputStatistics, group_size: int, shared: NDArray[np.int64] | None
) -> Floats:
    """AWQ's scales (inputs,) for some rows of each of the stage's matrices.

    `shared`: producer channel of each input channel, None when each has its own.
    """
    weight = _weight_share(matrices, group_size)
    x = _condensed(inputs.sample)

    powers = [max(_difference(x, matrix), float(_TINY)) for matrix in matrices]

    def cost(scales: Floats) -> float:
        total = 0.0
        for matrix, power in zip(matrices, powers, strict=True):
            rounded = round_plain(matrix * scales, group_size).values()
            total += _difference(x, matrix - rounded / scales) / power
        return total

    return _best(_candidates(inputs.mean, weight, shared), cost)


def smooth_scales(
    matrices: Sequence[Floats], greatest: Floats, inputs: InputStatistics, shared: NDArray[np.int64] | None
) -> Floats:
    """SmoothQuant's scales (inputs,). `greatest`: greatest magnitude of the weights per input channel."""
    x = inputs.sample

    # The same for every candidate.
    outputs = [x @ matrix.T for matrix in matrices]
    powers = [max(_power(out), float(_TINY)) for out in outputs]

    def cost(scales: Floats) -> float:
        rounded_x = round_input(x / scales, smooth_input_scale(inputs, scales))
        total = 0.0
        for matrix, out, power in zip(matrices, outputs, powers, strict=True):
            codes, steps = round_channels(matrix * scales)
            error = rounded_x @ (codes * steps).T
            error -= out
            total += _power(error) / power
        return total

    return _best(_smooth_candidates(inputs.greatest, greatest, shared), cost)


def smooth_input_scale(inputs: InputStatistics, scales: Floats) -> np.float32:
    """The static scale of the smoothed inputs: 127 stands for the greatest magnitude met."""
    return np.float32(max(float((inputs.greatest / scales).max()), 1e-6) / float(INT8_HIGHEST))


def round_input(x: Floats, step: np.float32) -> Floats:
    """Inputs as an INT8 kernel sees them."""
    rounded = x / step
    np.rint(rounded, out=rounded)
    np.clip(rounded, -128, INT8_HIGHEST, out=rounded)
    rounded *= step
    return rounded


def round_channels(matrix: Floats) -> tuple[NDArray[np.int8], Floats]:
    """INT8 codes (outputs, inputs) and a scale per output channel (outputs, 1)."""
    greatest = np.maximum(matrix.max(axis=1), -matrix.min(axis=1))[:, None]
    steps = np.maximum(greatest, _TINY) / INT8_HIGHEST
    return np.clip(np.rint(matrix / steps), -127, 127).astype(np.int8), steps


def _best(candidates: Iterator[Floats], cost: Callable[[Floats], float]) -> Floats:
    """The candidate of the least cost, the relative error summed over the matrices; the first of equals."""
    found, least = None, np.inf
    for scales in candidates:
        error = cost(scales)
        if found is None or error < least:
            found, least = scales, error
    if found is None:
        raise ValueError("no candidates")
    return found


def _candidates(mean: Floats, weight: Floats, shared: NDArray[np.int64] | None) -> Iterator[Floats]:
    """From no scaling to scaling by the inputs' magnitude, with and without the weights' share."""
    x, w = (np.maximum(_pooled(v, shared, np.mean), _TINY) for v in (mean, weight))
    yield np.ones(len(mean), np.float32)
    for exponent in _EXPONENTS[1:]:
        yield _spread(_normed(np.power(x, exponent)), shared)
    for exponent in _EXPONENTS:
        yield _spread(_normed(np.power(x, exponent) / np.power(w, 1 - exponent)), shared)


def _smooth_candidates(inputs: Floats, weights: Floats, shared: NDArray[np.int64] | None) -> Iterator[Floats]:
    x, w = (np.maximum(_pooled(v, shared, np.max), _TINY) for v in (inputs, weights))
    yield np.ones(len(inputs), np.float32)
    for exponent in _SMOOTH_EXPONENTS:
        yield _spread(_normed(np.power(x, exponent) / np.power(w, 1 - exponent)), shared)


def _pooled(values: Floats, shared: NDArray[np.int64] | None, pool: Callable[..., Any]) -> Floats:
    """Per producer channel, what `pool` makes of the channels that it feeds."""
    if shared is None:
        return values
    order = np.argsort(shared, kind="stable").reshape(int(shared.max()) + 1, -1)
    pooled: Floats = pool(values[order], axis=1)
    return pooled


def _spread(scales: Floats, shared: NDArray[np.int64] | None) -> Floats:
    return scales if shared is None else scales[shared]


def _normed(scales: NDArray[np.floating[Any]]) -> Floats:
    """Around 1, within what float16 holds well."""
    middle = np.exp(np.log(scales.astype(np.float64)).mean())
    clipped: Floats = np.clip(scales / middle, 1 / _WIDEST, _WIDEST).astype(np.float32)
    return clipped


def _weight_share(matrices: Sequence[Floats], group_size: int) -> Floats:
    """Mean over the rows of each weight's magnitude, as a share of the greatest of its group (inputs,)."""
    total, rows = np.zeros(matrices[0].shape[1], np.float64), 0
    for matrix in matrices:
        grouped = np.abs(matrix).reshape(len(matrix), -1, group_size)
        share = grouped / np.maximum(grouped.max(axis=-1, keepdims=True), _TINY)
        total += share.reshape(matrix.shape).sum(axis=0, dtype=np.float64)
        rows += len(matrix)
    return (total / rows).astype(np.float32)


def _condensed(x: Floats) -> Floats:
    """Fewer rows that change any sum of squares of products as x does: the triangular factor of a tall x."""
    if len(x) <= x.shape[1]:
        return x
    factor: Floats = np.asarray(np.linalg.qr(x, mode="r"))
    return factor


def _difference(x: Floats, error: Floats) -> float:
    return _power(x @ error.T)


def _power(values: Floats) -> float:
    return float(np.vdot(values, values))
