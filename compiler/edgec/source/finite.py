"""Refuses weights that are not numbers. Rule: NaN and infinities stop the build, with the tensor and the position."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from edgec.errors import InputError


def check_finite(values: NDArray[np.float32], *, tensor: str, file: str, first_index: int) -> None:
    """Check a slab of a tensor, of any shape.

    `first_index`: the flat index in the tensor of the slab's first element. Raises InputError with the flat index of
    the first NaN or infinity. Minimum and maximum carry both, at memory speed and without a temporary array.
    """
    if values.size == 0 or (math.isfinite(float(values.min())) and math.isfinite(float(values.max()))):
        return
    flat = values.reshape(-1)
    bad = int(np.argmin(np.isfinite(flat)))
    raise InputError.of(
        f"the weight at index {first_index + bad} is {float(flat[bad])}",
        hint="the checkpoint is damaged or its training diverged; fetch it again or use another revision",
        place=f"{file}: tensor '{tensor}'",
    )
