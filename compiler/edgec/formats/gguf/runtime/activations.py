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
# As llama.cpp's tool: a node with fewer rows is no batch of tokens.
_MIN_ROWS = 16


@dataclass
class Entry:
    """Sums of squares per input column, shape (matrices, columns), and how many rows each matrix has seen."""

    sums: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]


class Collector:
    """The evaluation callback and what it has collected, by weight name."""

    def __init__(self, lib: c.CDLL) -> None:
        self._lib = lib
        names = {lib.ggml_op_name(op): op for op in range(64)}
        self._mul_mat, self._mul_mat_id = names[b"MUL_MAT"], names[b"MUL_MAT_ID"]
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
        weight, inputs = (Tensor.from_address(node.src[i]) for i in range(2)) if node.src[1] else (None, None)
        if weight is None or inputs is None:
            return not ask
        if ask:
            return self._wanted(node, weight, inputs)
        if not self._lib.ggml_backend_buffer_is_host(inputs.buffer):
            self._failure = "the activations are not in the host's memory"
        elif node.op == self._mul_mat_id:
            self._add_routed(weight, inputs, Tensor.from_address(node.src[2]))
        else:
            self._add_dense(weight, inputs)
        return self._failure is None

    def _wanted(self, node: Tensor, weight: Tensor, inputs: Tensor) -> bool:
        if node.op == self._mul_mat_id:
            return True
        return bool(
            node.op == self._mul_mat
            and inputs.ne[1] >= _MIN_ROWS
            and inputs.type == _F32
            and weight_name(weight).startswith("blk.")
        )

    def _add_dense(self, weight: Tensor, inputs: Tensor) -> None:
        """Inputs (i3, i2, rows, columns); a batch index beyond the weight's matrices wraps around, as the product does."""
        rows = _view(inputs, np.dtype(np.float32))
        n2, n3 = weight.ne[2], weight.ne[3]
        entry = self._entry(weight, n2 * n3, rows.shape[-1], counts=1)
        for i3 in range(rows.shape[0]):
            for i2 in range(rows.shape[1]):
                entry.sums[(i3 % n3) * n2 + i2 % n2] += _sum_of_squares(rows[i3, i2])
        entry.counts += rows.shape[0] * rows.shape[1] * rows.shape[2] // (n2 * n3)
        self._check_finite(weight, entry)

    def _add_routed(self, weight: Tensor, inputs: Tensor, ids: Tensor) -> None:
        """Mixture of experts: inputs (1, tokens, used or 1, columns), ids (tokens, used): which expert saw which row."""
        rows = _view(inputs, np.dtype(np.float32))[0]
        experts = _view(ids, np.dtype(np.int32))[0, 0]
        entry = self._entry(weight, weight.ne[2], rows.shape[-1], counts=weight.ne[2])
        for slot in range(experts.shape[1]):
            chosen = rows[:, slot % rows.shape[1]]
            for expert in np.unique(experts[:, slot]):
                seen = chosen[experts[:, slot] == expert]
                entry.sums[expert] += _sum_of_squares(seen)
                entry.counts[expert] += seen.shape[0]
        self._check_finite(weight, entry)

    def _entry(self, weight: Tensor, matrices: int, columns: int, counts: int) -> Entry:
        name = weight_name(weight)
        if name not in self._entries:
            self._entries[name] = Entry(np.zeros((matrices, columns)), np.zeros(counts, dtype=np.int64))
        return self._entries[name]

    def _check_finite(self, weight: Tensor, entry: Entry) -> None:
        if not np.isfinite(entry.sums).all():
            self._failure = f"the activations that enter tensor '{weight_name(weight)}' are not finite"


def weight_name(weight: Tensor) -> str:
    """The weight's name without what the scheduler puts around it (`CPU#blk.0.attn_q.weight#0`)."""
    name: str = weight.name.decode("utf-8", "replace")
    parts = name.split("#")
    return parts[1] if len(parts) > 1 else name


def _view(tensor: Tensor, dtype: np.dtype[np.float32] | np.dtype[np.int32]) -> npt.NDArray[np.float32]:
    """The tensor's data in place, shape reversed to row-major, with its own strides."""
    shape = tuple(reversed(tensor.ne))
    strides = tuple(reversed(tensor.nb))
    last = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    buffer = (c.c_char * (last + dtype.itemsize)).from_address(tensor.data)
    return np.ndarray(shape, dtype=dtype, buffer=buffer, strides=strides)


def _sum_of_squares(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return np.einsum("ij,ij->j", wide, wide)
