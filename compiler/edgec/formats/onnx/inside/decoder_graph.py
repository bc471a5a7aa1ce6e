"""A decoder's graph with its weights beside it: tables stored once, what it has, and the two files that are kept.

Runs in the toolchains. Rule: weights are copied between files, never held; their order is that of the graph's list.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

MODEL_FILE, DATA_FILE = "model.onnx", "model.onnx.data"
# Of every tensor's place in the data, so that it can be mapped.
_ALIGNMENT = 64
_PIECE_BYTES = 8 << 20
_EMBEDDING, _GATHER = "model.embed_tokens.weight", "/model/embed_tokens/Gather"
# Smaller matrices gain nothing.
_SMALLEST_BYTES = 1 << 16
_PIECE_ROWS = 1 << 12
_HEAD_CODES, _HEAD_SCALES = "lm_head.MatMul.weight_Q8", "lm_head.MatMul.weight_scales"


def share_embedding(model: Any) -> None:
    """Lets an embedding in float32 beside an 8-bit head of the same matrix read the head's codes instead."""
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    gather = next((node for node in graph.node if node.name == _GATHER), None)
    if gather is None or not {_EMBEDDING, _HEAD_CODES, _HEAD_SCALES} <= tensors.keys():
        return
    rows, blocks, size = tensors[_HEAD_CODES].dims
    shape, flat = "/model/embed_tokens/shape", "/model/embed_tokens/codes"
    graph.initializer.append(helper.make_tensor(shape, TensorProto.INT64, [2], [rows, blocks * size]))
    nodes = [
        helper.make_node("Reshape", [_HEAD_CODES, shape], [flat], name="/model/embed_tokens/Reshape"),
        helper.make_node(
            "GatherBlockQuantized", [flat, gather.input[1], _HEAD_SCALES], list(gather.output),
            name="/model/embed_tokens/GatherBlockQuantized", domain="com.microsoft",
            bits=8, block_size=size, gather_axis=0, quantize_axis=1,
        ),
    ]  # fmt: skip
    place = list(graph.node).index(gather)
    graph.node.remove(gather)
    graph.initializer.remove(tensors[_EMBEDDING])
    for offset, node in enumerate(nodes):
        graph.node.insert(place + offset, node)


def share_equal(model: Any, made: Path) -> None:
    """Lets matrices that are in the file twice, one of them turned, be one: an embedding and its head."""
    graph = model.graph
    large = [t for t in graph.initializer if len(t.dims) == 2 and _length(t) >= _SMALLEST_BYTES]
    first: dict[tuple[int, ...], list[Any]] = {}
    for tensor in large:
        rows, columns = tensor.dims
        earlier = first.setdefault((columns, rows), [])
        same = next((e for e in earlier if _is_turned(e, tensor, made)), None)
        if same is None:
            first.setdefault((rows, columns), []).append(tensor)
            continue
        graph.initializer.remove(tensor)
        # onnxruntime folds it when it loads the model, or multiplies with the turned matrix.
        graph.node.insert(
            0, helper.make_node("Transpose", [same.name], [tensor.name], name=f"{same.name}/turned", perm=[1, 0])
        )


def _is_turned(one: Any, other: Any, made: Path) -> bool:
    if one.data_type != TensorProto.FLOAT or other.data_type != TensorProto.FLOAT:
        return False
    whole, turned = _mapped(one, made), _mapped(other, made)
    steps = range(0, whole.shape[0], _PIECE_ROWS)
    return all(np.array_equal(whole[i : i + _PIECE_ROWS], turned[:, i : i + _PIECE_ROWS].T) for i in steps)


def _mapped(tensor: Any, made: Path) -> Any:
    place = _place(tensor)
    return np.memmap(made / place["location"], "<f4", "r", offset=int(place.get("offset", 0)), shape=tuple(tensor.dims))


def _place(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _length(tensor: Any) -> int:
    return int(_place(tensor).get("length", 0))


def write_graph(model: Any, made: Path, out: Path) -> None:
    """Writes `model.onnx` and `model.onnx.data` into `out`: the graph, and the weights in `made` that it still has."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    with (out / DATA_FILE).open("wb") as data:
        for tensor in graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                _move(tensor, made, data)
    (out / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))


def _move(tensor: Any, made: Path, data: Any) -> None:
    place = _place(tensor)
    source, length = made / place["location"], int(place["length"])
    if source.parent != made:
        raise SystemExit(f"{tensor.name} lies in {place['location']!r}, outside the folder of the model")
    data.write(bytes(-data.tell() % _ALIGNMENT))
    begin = data.tell()
    with source.open("rb") as file:
        file.seek(int(place.get("offset", 0)))
        left = length
        while left:
            piece = file.read(min(left, _PIECE_BYTES))
            if not piece:
                raise SystemExit(f"{tensor.name} ends {left} bytes early in {source.name}")
            data.write(piece)
            left -= len(piece)
    del tensor.external_data[:]
    for key, value in (("location", DATA_FILE), ("offset", begin), ("length", length)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)


def describe(model: Any) -> dict[str, Any]:
    """Operators and their numbers, opsets, inputs and outputs as [name, type, shape], and bytes of each tensor type."""
    graph = model.graph
    sizes: Counter[str] = Counter()
    for tensor in graph.initializer:
        sizes[TensorProto.DataType.Name(tensor.data_type)] += _length(tensor)
    operators = Counter(f"{node.domain}:{node.op_type}" if node.domain else node.op_type for node in graph.node)
    return {
        "operators": dict(operators),
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "inputs": [_value(value) for value in graph.input],
        "outputs": [_value(value) for value in graph.output],
        "bytes_by_type": dict(sizes),
    }


def _value(value: Any) -> list[Any]:
    tensor = value.type.tensor_type
    shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim]
    return [value.name, TensorProto.DataType.Name(tensor.elem_type), shape]
