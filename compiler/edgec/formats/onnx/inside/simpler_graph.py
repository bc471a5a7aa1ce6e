"""Takes out of an exported encoder's graph what costs time at every text and changes nothing.

Runs in the toolchain. Rule: standard operators only, and the same numbers but for the last digit of a float32.

`fold_shapes`: what exporters compute of a text's shape for every head is written as the constant that it is.
`fold_factors`: the factor of attention, which they compute of a shape too and multiply queries and keys with, goes
into the weights. `sum_before_norms`: see there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

_LAST = np.iinfo(np.int64).max
# What scalars are computed with in exported graphs.
_SCALAR_MATHS = {"Sqrt": np.sqrt, "Div": np.divide, "Mul": np.multiply, "Reciprocal": np.reciprocal}


def simplify(graph: Any, *, for_browser: bool) -> None:
    """All of it. `for_browser`: what is faster natively and slower there is left out."""
    fold_shapes(graph)
    fold_factors(graph)
    if not for_browser:
        sum_before_norms(graph)


def fold_shapes(graph: Any) -> int:
    """Reshapes to a shape that is put together of the text's own dimensions, in their places; returns how many."""
    names = _Names(graph)
    folded = 0
    for node in graph.node:
        parts = names.made.get(node.input[1]) if node.op_type == "Reshape" else None
        if parts is None or parts.op_type != "Concat":
            continue
        sizes = [_size(name, place, names) for place, name in enumerate(parts.input)]
        if None not in sizes and _same_text(node.input[0], parts, names.made):
            name = f"{node.output[0]}_shape"
            graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
            node.input[1] = name
            folded += 1
    _prune(graph)
    return folded


def fold_factors(graph: Any) -> int:
    """Factors that what a product with constant weights gives is multiplied with, into these weights; returns how many.

    Between them, heads may be taken apart and turned.
    """
    names = _Names(graph)
    folded = 0
    for node in list(graph.node):
        factor = names.factor(node)
        product = None if factor is None or names.is_output(node) else names.product(node.input[0])
        if product is None:
            continue
        for weight in product:
            tensor = names.weights[weight]
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, weight))
        for reader in graph.node:
            for place, name in enumerate(reader.input):
                if name == node.output[0]:
                    reader.input[place] = node.input[0]
        names.taken_out(node)
        graph.node.remove(node)
        folded += 1
    _prune(graph)
    return folded


def sum_before_norms(graph: Any) -> int:
    """Additions before a normalization become sums of two, which are the same; returns how many.

    onnxruntime 1.32 fuses an addition and a normalization into SkipLayerNormalization, which on a CPU takes four times
    as long as both (docs/onnx.md), and does not fuse a sum. In a browser the fused one is faster.
    """
    names = _Names(graph)
    changed = 0
    for node in graph.node:
        addition = names.made.get(node.input[0]) if node.op_type == "LayerNormalization" else None
        if addition is not None and addition.op_type == "Add" and not names.weights.keys() & set(addition.input):
            addition.op_type = "Sum"
            changed += 1
    return changed


class _Names:
    """What is behind the names of a graph."""

    def __init__(self, graph: Any) -> None:
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.made = {out: node for node in graph.node for out in node.output}
        # A shape is the same whatever the values are.
        reads = [name for node in graph.node if node.op_type != "Shape" for name in node.input]
        reads += [value.name for value in graph.output]
        self._reads = Counter(reads)
        self._outputs = {value.name for value in graph.output}

    def is_output(self, node: Any) -> bool:
        """Whether what the node gives leaves the graph, under a name that must stay."""
        return not self._outputs.isdisjoint(node.output)

    def taken_out(self, node: Any) -> None:
        """Who read what the node gave now reads its first input."""
        self._reads[node.input[0]] = self._reads[node.output[0]]

    def factor(self, node: Any) -> Any:
        """What the node multiplies its first input with, when that is one number; else None."""
        if node.op_type not in ("Mul", "Div"):
            return None
        number = self.scalar(node.input[1])
        if number is None or number.dtype != np.float32 or not np.isfinite(number) or number == 0:
            return None
        return number if node.op_type == "Mul" else np.float32(1) / number

    def product(self, name: str) -> list[str] | None:
        """The weights of the product, and of what is added, that `name` alone is made of; else None."""
        node = self._only_reader(name)
        while node is not None and node.op_type in ("Transpose", "Reshape"):
            node = self._only_reader(node.input[0])
        weights = []
        if node is not None and node.op_type == "Add":
            bias = [given for given in node.input if given in self.weights]
            others = [given for given in node.input if given not in self.weights]
            if len(bias) != 1 or len(others) != 1:
                return None
            weights += bias
            node = self._only_reader(others[0])
        if node is None or node.op_type != "MatMul" or node.input[1] not in self.weights:
            return None
        weights.append(node.input[1])
        return weights if all(self._reads[weight] == 1 for weight in weights) else None

    def _only_reader(self, name: str) -> Any:
        return self.made.get(name) if self._reads[name] == 1 else None

    def scalar(self, name: str) -> Any:
        """The value of a tensor of one number that no text changes; else None."""
        if name in self.weights:
            # Large tensors may lie beside the graph.
            tensor = self.weights[name]
            return numpy_helper.to_array(tensor).reshape(-1)[0] if np.prod(tensor.dims, dtype=int) == 1 else None
        node = self.made.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            value = numpy_helper.to_array(node.attribute[0].t)
            return value.reshape(-1)[0] if value.size == 1 else None
        if node.op_type == "Slice":
            return self._last_dimension(node)
        if node.op_type not in ("Cast", *_SCALAR_MATHS):
            # Whatever is behind it, it is no number of the kind; all of the network may be.
            return None
        given = []
        for one in node.input:
            given.append(self.scalar(one))
            if given[-1] is None:
                return None
        if node.op_type == "Cast":
            kind = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
            return given[0].astype(kind) if len(node.attribute) == 1 else None
        return _SCALAR_MATHS[node.op_type](*given)

    def _last_dimension(self, node: Any) -> Any:
        """Of `Shape(x)[-1:]`, where it is known."""
        shape = self.made.get(node.input[0])
        bounds = [self.scalar(name) for name in node.input[1:]]
        if shape is None or shape.op_type != "Shape" or shape.attribute or bounds[:2] != [-1, _LAST]:
            return None
        place, node = -1, self.made.get(shape.input[0])
        while node is not None and node.op_type == "Transpose" and node.attribute:
            place, node = node.attribute[0].ints[place], self.made.get(node.input[0])
        if node is None or node.op_type != "Reshape" or node.input[1] not in self.weights:
            return None
        sizes = numpy_helper.to_array(self.weights[node.input[1]])
        return sizes[place] if sizes[place] > 0 else None


def _size(name: str, place: int, names: _Names) -> int | None:
    """The part of a shape: a constant, or 0 for the dimension of the reshaped tensor in the same place; else None."""
    number = names.scalar(name)
    if number is not None:
        return int(number)
    node = names.made.get(name)
    if node is not None and node.op_type == "Unsqueeze":
        node = names.made.get(node.input[0])
    if node is None or node.op_type != "Gather":
        return None
    shape = names.made.get(node.input[0])
    own = shape is not None and shape.op_type == "Shape" and names.scalar(node.input[1]) == place
    return 0 if own else None


def _same_text(name: str, parts: Any, made: Mapping[str, Any]) -> bool:
    """Whether every dimension that the shape takes is of the reshaped tensor, or of what it was computed from."""
    above = {name, *_ancestors(name, made)}
    return all(node.input[0] in above for node in _shapes(parts, made))


def _shapes(parts: Any, made: Mapping[str, Any]) -> Iterator[Any]:
    for name in parts.input:
        node = made.get(name)
        while node is not None and node.op_type in ("Unsqueeze", "Gather"):
            node = made.get(node.input[0])
        if node is not None and node.op_type == "Shape":
            yield node


def _ancestors(name: str, made: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        node = made.get(waiting.pop())
        fresh = set() if node is None else set(node.input) - found
        found |= fresh
        waiting += fresh
    return found


def _prune(graph: Any) -> None:
    """Takes out what nothing reads any more."""
    while True:
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        dead = [node for node in graph.node if not used & set(node.output)]
        if not dead:
            break
        for node in dead:
            graph.node.remove(node)
    for tensor in list(graph.initializer):
        if tensor.name not in used:
            graph.initializer.remove(tensor)
