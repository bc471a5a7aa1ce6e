"""A user's own graph as it is planned: what goes in and out, what its weights are, whether onnxruntime knows it.

Rule: read from the file alone; an operator or a type that the runtime has not is refused before anything runs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgec.errors import InputError
from edgec.formats.onnx.graph_faults import graph_faults
from edgec.source.model import GraphFile
from edgec.source.onnx_graph import DOUBLE, ELEMENT_BITS, FLOAT, FLOAT16, Initializer, Node, OnnxGraph, Value

# Names as numpy has them, of the types that a sample can have.
DTYPES: Mapping[int, str] = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16",
    11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
CONVOLUTIONS = frozenset(("Conv", "ConvTranspose"))
# Their second input are the weights.
_WEIGHTED = CONVOLUTIONS | {"MatMul", "Gemm"}
_QUANTIZED = frozenset(("DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"))
_FLOATS = (FLOAT, FLOAT16, DOUBLE)
_SHOWN = 3

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Port:
    """An input or output. A dimension is a number, or the name of an open one (empty: it has none)."""

    name: str
    dtype: str
    shape: Shape

    @property
    def open_dims(self) -> tuple[int, ...]:
        """Indices of the dimensions that are not fixed."""
        return tuple(i for i, dim in enumerate(self.shape) if not isinstance(dim, int))

    @property
    def least_bytes(self) -> int:
        """Bytes of one value, open dimensions counted as 1."""
        bits = next(b for t, b in ELEMENT_BITS.items() if DTYPES.get(t) == self.dtype)
        return math.prod(d if isinstance(d, int) else 1 for d in self.shape) * bits // 8


@dataclass(frozen=True)
class UserGraph:
    """The graph. `operators`: how often each is used; `weights`: elements of what can be quantized, by operator;
    `channels`: its outputs, each with a scale; `float_bytes`: of all tensors; `file_bytes`: the model and its data.

    `elem_type`: of the weights; `quantized`: an operator that shows that it is quantized already.
    """

    file: str
    opset: int
    producer: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: Mapping[str, int]
    weights: Mapping[str, int]
    channels: int
    float_bytes: int
    file_bytes: int
    external: bool
    elem_type: int
    quantized: str | None

    @property
    def nodes(self) -> int:
        """How many operations it has."""
        return sum(self.operators.values())

    @property
    def weight_elements(self) -> int:
        """Weights that a scheme can quantize."""
        return sum(self.weights.values())

    @property
    def mostly_convolutions(self) -> bool:
        """Whether more of the weights are in convolutions than in matrix products."""
        return 2 * sum(n for op, n in self.weights.items() if op in CONVOLUTIONS) > self.weight_elements


def read_graph(source: GraphFile, file_bytes: int) -> UserGraph:
    """The graph of a source; `file_bytes`: of all its files. Raises InputError: operators or types nobody can run."""
    graph = source.graph
    faults = list(graph_faults(graph, source.name))
    if faults:
        raise InputError(*faults[:_SHOWN])
    weights, channels = _weights(graph)
    every = [*graph.initializers.values(), *graph.inner_tensors]
    elem_types = Counter(t.elem_type for t in every if t.elem_type in _FLOATS)
    used = Counter(node.op for node in (*graph.nodes, *graph.inner_nodes) if node.op != "Constant")
    return UserGraph(
        file=source.name,
        opset=graph.opsets.get("", graph.opsets.get("ai.onnx", 0)),
        producer=graph.producer,
        inputs=tuple(_port(v, source.name) for name, v in graph.inputs.items() if name not in graph.initializers),
        outputs=tuple(_port(v, source.name) for v in graph.outputs.values()),
        operators=dict(sorted(used.items())),
        weights=weights,
        channels=channels,
        float_bytes=sum(t.nbytes for t in every),
        file_bytes=file_bytes,
        external=any(t.location for t in every),
        elem_type=elem_types.most_common(1)[0][0] if elem_types else FLOAT,
        quantized=next((op for op in used if op.rpartition("::")[2] in _QUANTIZED), None),
    )


def with_shapes(graph: UserGraph, shapes: Mapping[str, Sequence[int]]) -> UserGraph:
    """The graph with the inputs' shapes fixed."""
    inputs = (replace(p, shape=tuple(shapes[p.name])) if p.name in shapes else p for p in graph.inputs)
    return replace(graph, inputs=tuple(inputs))


def _port(value: Value, file: str) -> Port:
    if value.elem_type not in DTYPES:
        raise InputError.of(
            f"'{value.name}' goes in or out of the graph and is no tensor of numbers (ONNX type {value.elem_type})",
            hint="export the model with tensors of numbers at its borders",
            place=file,
        )
    return Port(value.name, DTYPES[value.elem_type], value.shape)


def _weights(graph: OnnxGraph) -> tuple[dict[str, int], int]:
    """Elements of constant weights by operator, each tensor once, and how many outputs have a scale of their own."""
    found: dict[str, int] = {}
    channels = 0
    seen: set[str] = set()
    for node in graph.nodes:
        tensor = _weight_of(node, graph)
        if tensor is None or node.inputs[1] in seen:
            continue
        seen.add(node.inputs[1])
        found[node.op] = found.get(node.op, 0) + tensor.elements
        channels += max(tensor.shape)
    return found, channels


def _weight_of(node: Node, graph: OnnxGraph) -> Initializer | None:
    if node.op not in _WEIGHTED or len(node.inputs) < 2:
        return None
    tensor = graph.initializers.get(node.inputs[1], graph.constants.get(node.inputs[1]))
    fits = tensor is not None and tensor.elem_type == FLOAT and len(tensor.shape) > 1
    return tensor if fits else None
