"""4-bit codes of rows of weights: candidates for the scale of a group, and rounding on all cores.

Rule: scales are float16 before codes are chosen, because that is what is stored; codes are -8..7, symmetric.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgec.quantize import kernels
from edgec.toolchain.cores import usable_cores

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]

_HIGHEST = np.float32(7)
_SMALLEST = np.float32(2.0**-24)
# Shares of the greatest magnitude that 7 stands for. Below 7/8, values of both signs are cut.
PLAIN_RATIOS = (1.0,)
CLIP_RATIOS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)


@dataclass(frozen=True)
class Rounded:
    """Codes (rows, inputs) and scales (rows, groups), which float16 holds exactly."""

    codes: Codes
    scales: Floats

    def values(self) -> Floats:
        """The weights that the codes stand for (rows, inputs)."""
        rows, groups = self.scales.shape
        out = self.codes.reshape(rows, groups, -1).astype(np.float32)
        out *= self.scales[:, :, None]
        return out.reshape(self.codes.shape)


def as_stored(scales: Floats) -> Floats:
    """Scales as float16 holds them, none of them zero."""
    return np.maximum(scales.astype(np.float16).astype(np.float32), _SMALLEST)


def candidate_scales(values: Floats, ratios: tuple[float, ...]) -> Floats:
    """(n, rows, groups) scales to try for values (rows, groups, g)."""
    greatest = np.maximum(values.max(axis=-1), -values.min(axis=-1))
    return as_stored(np.array(ratios, np.float32)[:, None, None] * (greatest / _HIGHEST))


def round_plain(values: Floats, group_size: int) -> Rounded:
    """Round to nearest: the greatest magnitude of a group becomes 7."""
    rows, inputs = values.shape
    grouped = values.reshape(rows, -1, group_size)
    scales = candidate_scales(grouped, PLAIN_RATIOS)[0]
    codes = np.clip(np.rint(grouped / scales[:, :, None]), -8, 7).astype(np.int8)
    return Rounded(codes.reshape(rows, inputs), scales)


def round_clipped(values: Floats, gram: Floats, ratios: tuple[float, ...] = CLIP_RATIOS) -> Rounded:
    """Round to nearest, each group with the scale that changes its outputs least. `gram`: (groups, g, g)."""
    rows, inputs = values.shape
    groups, size, _ = gram.shape
    grouped = values.reshape(rows, groups, size)
    candidates = candidate_scales(grouped, ratios)
    codes, scales = np.empty((rows, groups, size), np.int8), np.empty((rows, groups), np.float32)

    def part(begin: int, end: int) -> None:
        kernels.round_groups(grouped[begin:end], gram, candidates[:, begin:end], codes[begin:end], scales[begin:end])

    on_all_cores(part, rows)
    return Rounded(codes.reshape(rows, inputs), scales)


def on_all_cores(part: Callable[[int, int], None], rows: int) -> None:
    """Calls `part` for ranges of rows, at once. Their number does not change any result."""
    workers = max(1, min(usable_cores(), rows // 16))
    bounds = np.linspace(0, rows, workers + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(part, int(b), int(e)) for b, e in pairwise(bounds)]:
            done.result()
