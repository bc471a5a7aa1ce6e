"""A linear of the layer at work: where its rows come from now, and what was folded into it.

Rule: rows are read a block at a time from the checkpoint, or from scratch once they were quantized; a whole matrix is
never in memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgec.errors import InputError
from edgec.quantize.budget import ROUNDED_ELEMENTS
from edgec.quantize.forward import blocks, multiply
from edgec.quantize.linears import LinearInfo
from edgec.quantize.output import QuantizedLinear
from edgec.quantize.scaling import round_input
from edgec.quantize.spill import Spill
from edgec.quantize.weights import Weights

Floats = NDArray[np.float32]
_FLOAT16_MOST = 65504.0


class LinearState:
    """Rows as the forward pass multiplies with them. `spill`: where quantized rows are kept."""

    def __init__(self, weights: Weights, name: str, spill: Spill | None = None) -> None:
        self.info: LinearInfo = weights.linear(name)
        self.name = name
        self.quantized: QuantizedLinear | None = None
        # What inputs are rounded to before they are multiplied (SmoothQuant), and multiplied with before that.
        self.input_scale = weights.input_scale(name)
        self._pre_scale = weights.vector(f"{name}.pre_quant_scale") if self.info.has_pre_scale else None
        self.bias = weights.vector(f"{name}.bias") if self.info.has_bias else None
        self._weights = weights
        self._spill = spill
        self._on_rows: Floats | None = None
        self._on_columns: Floats | None = None

    def row_blocks(self) -> list[tuple[int, int]]:
        """Ranges that rows are worked on in."""
        return blocks(self.info.out_features, self.info.in_features, ROUNDED_ELEMENTS)

    def rows(self, begin: int, end: int) -> Floats:
        """Rows [begin, end) as they are now."""
        if self.quantized is None or self._spill is None:
            rows = self._weights.rows(f"{self.name}.weight", begin, end)
            return rows if self._on_columns is None else rows * self._on_columns
        rows = self._spill.read(begin, end)
        if self._on_rows is not None:
            grouped = rows.reshape(end - begin, self._on_rows.shape[1], -1)
            grouped *= self._on_rows[begin:end, :, None]
        return rows

    def scale_columns(self, scales: Floats) -> None:
        """Folds the scales of the inputs in, before rows are quantized."""
        self._on_columns = scales

    def keep(self, quantized: QuantizedLinear) -> None:
        """From now on rows are those in the spill, the quantized ones."""
        self.quantized = quantized

    def spill_rows(self, begin: int, rows: Floats) -> None:
        """Keeps quantized rows for the forward pass."""
        if self._spill is not None:
            self._spill.write(begin, rows)

    def divide_rows(self, divisors: Floats) -> None:
        """Folds a scaling of the outputs into a quantized linear and its bias."""
        if self.quantized is None:
            raise ValueError(f"{self.name}: not quantized yet")
        self._on_rows = self.quantized.divide_rows(divisors)
        if self.bias is not None:
            self.bias = as_float16(self.bias / divisors, f"{self.name}.bias")

    def apply(self, x: Floats) -> Floats:
        """The linear's outputs for inputs (tokens, inputs)."""
        if self._pre_scale is not None:
            x = x * self._pre_scale
        if self.input_scale is not None:
            x = round_input(x, np.float32(self.input_scale))
        return multiply(x, self.rows, self.info.out_features, self.bias)


def as_float16(values: Floats, tensor: str) -> Floats:
    """Values as float16 stores them. Raises InputError for those it cannot hold."""
    if values.size and not (values.max() <= _FLOAT16_MOST and values.min() >= -_FLOAT16_MOST):
        raise InputError.of(
            f"has values up to {float(np.abs(values).max()):.3g}, and float16 ends at {_FLOAT16_MOST:.0f}",
            hint="quantized checkpoints are served in float16, which this model does not fit; take a GGUF of it",
            place=f"tensor '{tensor}'",
        )
    return values.astype(np.float16).astype(np.float32)
