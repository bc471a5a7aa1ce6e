"""Nouns of an .onnx file: operations, tensors, inputs and outputs. Rule: nothing here reads a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# ONNX's element types.
FLOAT, UINT8, INT8, INT32, INT64, BOOL, FLOAT16, DOUBLE, BFLOAT16 = 1, 2, 3, 6, 7, 9, 10, 11, 16
# Bits of an element, of the types that have a fixed number.
ELEMENT_BITS: Mapping[int, int] = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4,
}  # fmt: skip


@dataclass(frozen=True)
class Initializer:
    """A tensor of the graph: `elem_type` of ONNX; its bytes are `raw`, or lie in the data file from `offset` on."""

    name: str
    elem_type: int
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    raw: bytes | None
    location: str

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def whole_bytes(self) -> int | None:
        """Bytes that its shape and type ask for; None for texts and types without a fixed size."""
        bits = ELEMENT_BITS.get(self.elem_type)
        return None if bits is None else (self.elements * bits + 7) // 8


@dataclass(frozen=True)
class Node:
    """One operation. `op`: its type, with the domain when it is not ONNX's own: `trt_edgellm::AttentionPlugin`."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, int | float | bytes | tuple[float, ...]]
    has_metadata: bool


@dataclass(frozen=True)
class Value:
    """An input or output. A dimension is a number or the name of a variable one, empty where it has none."""

    name: str
    elem_type: int
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """An .onnx file. `inner_nodes`, `inner_tensors`: those within branches, loops, functions and attributes.

    `constants`: inner tensors that nodes give out under these names; `functions`: operations that the file itself
    defines, as nodes name them; `producer`: the program that wrote it;
    `sparse`: names of tensors of which the zeros are left out.
    """

    opsets: Mapping[str, int]
    nodes: tuple[Node, ...]
    initializers: Mapping[str, Initializer]
    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    functions: tuple[str, ...]
    inner_nodes: tuple[Node, ...] = ()
    inner_tensors: tuple[Initializer, ...] = ()
    constants: Mapping[str, Initializer] = field(default_factory=dict)
    producer: str = ""
    sparse: tuple[str, ...] = ()
