"""Makes a float32 graph ready for onnxruntime's dynamic quantizer, so that integer products lose less.

Runs in the toolchain. Rule: standard operators only, and in float32 the same numbers.

One scale for all activations of a product loses most where one channel or one token is far larger than others.
Channels are evened out against the weights that read them, as SmoothQuant does; it costs next to nothing. A token
divided by its largest value costs three passes over the activations, so it is done where tokens differ most: before
the second matrix of a feed-forward. What a normalization gives has tokens of like size (docs/onnx.md has the numbers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from weights import second_matrices

# Share of a channel's size that goes from the activations to the weights. Measured (docs/onnx.md): what comes of a
# normalization has larger outliers than what attention gives.
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
    second = set(second_matrices(graph))
    for name, readers in _readers(graph).items():
        if all(node.name in second for node, _ in readers):
            _even_tokens(graph, name, [node for node, _ in readers])
        else:
            _even_channels(graph, name, readers, peaks[name], _NORMED if name in normed else _OTHER)


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


def _even_channels(graph: Any, name: str, readers: Sequence[tuple[Any, Any]], peaks: Any, share: float) -> None:
    weights = [weight for _, weight in readers]
    shares = _shares(peaks, weights, share)
    graph.initializer.append(numpy_helper.from_array(1 / shares, f"{name}_even"))
    for weight in weights:
        scaled = numpy_helper.to_array(weight) * shares[:, None]
        weight.CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), weight.name))
    evened = f"{name}_evened"
    _insert(graph, [node for node, _ in readers], [("Mul", [name, f"{name}_even"], evened, {})])
    for node, _ in readers:
        node.input[0] = evened


def _even_tokens(graph: Any, name: str, readers: Sequence[Any]) -> None:
    size, largest, unit = (f"{name}_{part}" for part in ("size", "largest", "unit"))
    steps: list[tuple[str, list[str], str, dict[str, int]]] = [
        ("Abs", [name], size, {}),
        ("ReduceMax", [size, "edgec_last_axis"], f"{largest}_0", {"keepdims": 1}),
        ("Max", [f"{largest}_0", "edgec_tiny"], largest, {}),
        ("Div", [name, largest], unit, {}),
    ]
    _insert(graph, readers, steps)
    for node in readers:
        out = node.output[0]
        node.input[0], node.output[0] = unit, f"{out}_unit"
        back = helper.make_node("Mul", [f"{out}_unit", largest], [out], f"{out}_back")
        graph.node.insert(_place(graph, node) + 1, back)


def _insert(graph: Any, readers: Sequence[Any], steps: Sequence[tuple[str, list[str], str, dict[str, int]]]) -> None:
    """Adds nodes (kind, inputs, output, attributes) before the first reader."""
    first = min(_place(graph, node) for node in readers)
    for offset, (kind, given, made, more) in enumerate(steps):
        graph.node.insert(first + offset, helper.make_node(kind, given, [made], made, **more))


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
