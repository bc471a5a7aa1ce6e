"""Listens to llama.cpp's matrix multiplications and sums the squares of their inputs: the importance matrix.

Rule: the same tokens in the same chunks give the same sums. Squares are taken and summed in float64, row after row, so
that neither the thread count nor the number of chunks costs precision (llama.cpp's own tool sums in float32).
"""

from __future__ import annotations

import ctypes as c
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgec.errors import ToolError
from edgec.formats.gguf.runtime.structs import Tensor

_F32 = 0
_MIN_ROWS = 16


@dataclass
class Entry:
    """Sums of squares per input column, shape (columns,), and the number of rows they were taken over."""

    sums: npt.NDArray[np.float64]
    rows: int


class Collector:
    """The evaluation callback and what it has collected, by weight name."""

    def __init__(self, lib: c.CDLL) -> None:
        self._lib = lib
        self._mul_mat = next(op for op in range(64) if lib.ggml_op_name(op) == b"MUL_MAT")
        self._entries: dict[str, Entry] = {}
        self._failure: str | None = None

    def entries(self) -> list[tuple[str, Entry]]:
        """What was collected, sorted by weight name."""
        return sorted(self._entries.items())

    def check(self) -> None:
        """Raises ToolError for what went wrong inside the callback, where C cannot carry an exception."""
        if self._failure is not None:
            raise ToolError.of(self._failure, hint="check the model's weights and its source precision")

    def on_node(self, address: int, ask: bool, _user: object) -> bool:
        """llama.cpp's callback: whether the node is wanted (`ask`), then with its inputs computed. False stops."""
        node = Tensor.from_address(address)
        if node.op != self._mul_mat:
            return not ask
        weight, inputs = Tensor.from_address(node.src[0]), Tensor.from_address(node.src[1])
        name = weight_name(weight)
        if ask:
            # As llama.cpp's tool: a node with few rows is no batch of tokens, and the output layer is left out.
            return inputs.ne[1] >= _MIN_ROWS and inputs.type == _F32 and name.startswith("blk.")
        if weight.ne[2] * weight.ne[3] != 1:
            self._failure = f"tensor '{name}' holds several matrices, which no supported architecture does"
        elif not self._lib.ggml_backend_buffer_is_host(inputs.buffer):
            self._failure = f"the activations that enter tensor '{name}' are not in the host's memory"
        else:
            self._add(name, inputs)
        return self._failure is None

    def _add(self, name: str, inputs: Tensor) -> None:
        rows = _rows(inputs)
        squares = _sum_of_squares(rows)
        if not np.isfinite(squares).all():
            self._failure = f"the activations that enter tensor '{name}' are not finite"
            return
        entry = self._entries.setdefault(name, Entry(np.zeros(rows.shape[1]), 0))
        entry.sums += squares
        entry.rows += rows.shape[0]


def weight_name(weight: Tensor) -> str:
    """The weight's name without what the scheduler puts around it (`CPU#blk.0.attn_q.weight#0`)."""
    name: str = weight.name.decode("utf-8", "replace")
    parts = name.split("#")
    return parts[1] if len(parts) > 1 else name


def _rows(tensor: Tensor) -> npt.NDArray[np.float32]:
    """The tensor's data as (rows, columns), in place where its strides allow."""
    shape, strides = tuple(reversed(tensor.ne)), tuple(reversed(tensor.nb))
    last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    buffer = (c.c_char * (last + 4)).from_address(tensor.data)
    data: npt.NDArray[np.float32] = np.ndarray(shape, dtype=np.float32, buffer=buffer, strides=strides)
    return data.reshape(-1, shape[-1])


def _sum_of_squares(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    sums: npt.NDArray[np.float64] = np.einsum("ij,ij->j", wide, wide)
    return sums
