"""Makes a float32 graph ready for onnxruntime's dynamic quantizer: less to lose, less to compute.

Runs in the toolchain. Rule: standard operators only, and in float32 the same numbers.

`even_out`: one scale for all activations of a product loses most where one token or one channel is far larger than
others. So each token is divided by its largest value, which its outputs are multiplied with afterwards, and channels
are evened out against the weights that read them, as SmoothQuant does.
`fold_shapes`: what exporters compute of a text's shape for every head is written as the constant that it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

# Share of a channel's size that goes from the activations to the weights. Measured (docs/onnx.md): what comes of a
# normalization has larger outliers than what attention and activation functions give.
_NORMED, _OTHER = 0.6, 0.5
_LEAST = 1e-5
_TINY = 1e-9


def even_out(graph: Any, peaks: Mapping[str, Any]) -> None:
    """`peaks`: of each product's input, the largest absolute value of each channel: see `channel_peaks`."""
    graph.initializer.extend([
        numpy_helper.from_array(np.array([-1], np.int64), "edgec_last_axis"),
        numpy_helper.from_array(np.array(_TINY, np.float32), "edgec_tiny"),
    ])  # fmt: skip
    normed = {out for node in graph.node if node.op_type == "LayerNormalization" for out in node.output}
    for name, readers in _readers(graph).items():
        weights = [weight for _, weight in readers]
        shares = _shares(peaks[name], weights, _NORMED if name in normed else _OTHER)
        graph.initializer.append(numpy_helper.from_array(1 / shares, f"{name}_even"))
        for weight in weights:
            scaled = numpy_helper.to_array(weight) * shares[:, None]
            weight.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), weight.name))
        even, size, largest, unit = (f"{name}_{part}" for part in ("evened", "size", "largest", "unit"))
        first = min(_place(graph, node) for node, _ in readers)
        for offset, (kind, given, made, more) in enumerate([
            ("Mul", [name, f"{name}_even"], even, {}),
            ("Abs", [even], size, {}),
            ("ReduceMax", [size, "edgec_last_axis"], f"{largest}_0", {"keepdims": 1}),
            ("Max", [f"{largest}_0", "edgec_tiny"], largest, {}),
            ("Div", [even, largest], unit, {}),
        ]):  # fmt: skip
            graph.node.insert(first + offset, helper.make_node(kind, given, [made], made, **more))
        for node, _ in readers:
            out = node.output[0]
            node.input[0], node.output[0] = unit, f"{out}_unit"
            back = helper.make_node("Mul", [f"{out}_unit", largest], [out], f"{out}_back")
            graph.node.insert(_place(graph, node) + 1, back)


def channel_peaks(path: Path, feeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The largest absolute value of each channel of each product's input, over all feeds."""
    model = onnx.load(str(path))
    names = list(_readers(model.graph))
    present = {value.name for value in model.graph.output}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in present
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    peaks: dict[str, Any] = {}
    for given in feeds:
        for name, values in zip(names, session.run(names, dict(given)), strict=True):
            found = np.abs(values.reshape(-1, values.shape[-1])).max(axis=0)
            peaks[name] = np.maximum(peaks.get(name, 0), found)
    return peaks


def fold_shapes(graph: Any) -> int:
    """Reshapes to a shape that is put together of the text's own dimensions, in their places; returns how many."""
    made = {out: node for node in graph.node for out in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constants |= {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in graph.node if node.op_type == "Constant"
    }
    folded = 0
    for node in graph.node:
        parts = made.get(node.input[1]) if node.op_type == "Reshape" else None
        if parts is None or parts.op_type != "Concat":
            continue
        sizes = [_size(name, place, made, constants) for place, name in enumerate(parts.input)]
        if None not in sizes and _same_text(node.input[0], parts, made):
            name = f"{node.output[0]}_shape"
            graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
            node.input[1] = name
            folded += 1
    _prune(graph)
    return folded


def _readers(graph: Any) -> dict[str, list[tuple[Any, Any]]]:
    """Name of an input -> the products with constant matrices that read it, each with its matrix."""
    matrices = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    uses = [name for node in graph.node for name in node.input]
    found: dict[str, list[tuple[Any, Any]]] = {}
    for node in graph.node:
        # A matrix that something else reads too must stay as it is.
        if node.op_type == "MatMul" and node.input[1] in matrices and uses.count(node.input[1]) == 1:
            found.setdefault(node.input[0], []).append((node, matrices[node.input[1]]))
    return found


def _shares(peaks: Any, weights: Sequence[Any], share: float) -> Any:
    """What each channel of the weights is multiplied with, and of the activations divided by."""
    peaks = np.maximum(peaks, _LEAST * max(float(peaks.max()), _LEAST))
    widest = np.max([np.abs(numpy_helper.to_array(weight)).max(axis=1) for weight in weights], axis=0)
    shares = peaks**share / np.maximum(widest, _LEAST) ** (1 - share)
    return (shares / np.exp(np.log(shares).mean())).astype(np.float32)


def _place(graph: Any, wanted: Any) -> int:
    return next(index for index, node in enumerate(graph.node) if node.output[0] == wanted.output[0])


def _size(name: str, place: int, made: Mapping[str, Any], constants: Mapping[str, Any]) -> int | None:
    """The part of a shape: a constant, or 0 for the dimension of the reshaped tensor in the same place; else None."""
    if name in constants and constants[name].size == 1:
        return int(constants[name].reshape(-1)[0])
    node = made.get(name)
    if node is not None and node.op_type == "Unsqueeze":
        node = made.get(node.input[0])
    if node is None or node.op_type != "Gather" or node.input[1] not in constants:
        return None
    shape = made.get(node.input[0])
    own = shape is not None and shape.op_type == "Shape" and int(constants[node.input[1]]) == place
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
