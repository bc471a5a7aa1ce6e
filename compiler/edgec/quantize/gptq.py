"""GPTQ: columns are rounded one after the other, and the later ones make up for the errors of the earlier ones.

Written with the factor R of the inputs' products (R R^T): an error row e costs |e R|^2, column by column, so that no
inverse is needed. A group's scale is the one of some candidates whose rounding, with feedback, costs least.
Source: Frantar et al., GPTQ, arXiv 2210.17323; the triangular view: Chen et al., arXiv 2507.18553.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgec.quantize import kernels
from edgec.quantize.rounding import Rounded, candidate_scales, on_all_cores

Floats = NDArray[np.float32]

RATIOS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65)


@dataclass(frozen=True)
class _Group:
    """Columns [begin, end) and what their errors do within the group."""

    begin: int
    end: int
    feedback: Floats
    diagonal: Floats
    inverse: Floats


class Feedback:
    """The factor of a stage's inputs, cut into groups of `group_size` columns."""

    def __init__(self, factor: Floats, group_size: int) -> None:
        self._factor = factor
        self._groups = [self._group(b, b + group_size) for b in range(0, len(factor), group_size)]

    def _group(self, begin: int, end: int) -> _Group:
        corner = self._factor[begin:end, begin:end]
        diagonal = corner.diagonal().copy()
        inverse = np.linalg.inv(corner.astype(np.float64)).astype(np.float32)
        return _Group(begin, end, np.ascontiguousarray(corner / diagonal), diagonal, inverse)

    def round(self, values: Floats) -> Rounded:
        """Codes and scales of rows of weights (rows, inputs)."""
        rows, inputs = values.shape
        codes = np.empty((rows, inputs), np.int8)
        scales = np.empty((rows, len(self._groups)), np.float32)
        errors = np.zeros((rows, inputs), np.float32)
        for index, group in enumerate(self._groups):
            columns = slice(group.begin, group.end)
            target = values[:, columns].copy()
            if group.begin:
                # What the errors so far leave to be made up for here.
                owed = errors[:, : group.begin] @ self._factor[: group.begin, columns]
                target += owed @ group.inverse
            own_codes, own_scales = _round_group(target, group)
            codes[:, columns], scales[:, index] = own_codes, own_scales
            errors[:, columns] = values[:, columns] - own_codes * own_scales[:, None]
        return Rounded(codes, scales)


def _round_group(target: Floats, group: _Group) -> tuple[NDArray[np.int8], Floats]:
    candidates = candidate_scales(target[:, None, :], RATIOS)[:, :, 0]
    codes, scales = np.empty(target.shape, np.int8), np.empty(len(target), np.float32)

    def part(begin: int, end: int) -> None:
        kernels.round_feedback(
            target[begin:end],
            group.feedback,
            group.diagonal,
            candidates[:, begin:end],
            codes[begin:end],
            scales[begin:end],
        )

    on_all_cores(part, len(target))
    return codes, scales
