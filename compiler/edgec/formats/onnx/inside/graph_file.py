"""ONNX files as the scripts beside this one read and write them: weights inside, or in one file `<name>.data` beside.

Rule: what is written depends on the graph and its weights alone; weights that lie beside are read one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Smaller tensors stay in the graph; larger ones begin at a multiple of this, so that they can be mapped.
_SMALLEST = 1024
_ALIGNED = 4096
# Types whose elements have a number of whole bytes.
_PLAIN = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16))


def data_file(path: Path) -> Path:
    """Where the weights of the graph in `path` lie when they lie beside it."""
    return path.with_name(f"{path.name}.data")


def size_bytes(path: Path) -> int:
    """Of the graph and of what lies beside it."""
    beside = data_file(path)
    return path.stat().st_size + (beside.stat().st_size if beside.is_file() else 0)


def read(path: Path) -> Any:
    """The graph; weights that lie beside it stay there."""
    return onnx.load(str(path), load_external_data=False)


def has_weights_beside(model: Any) -> bool:
    """Whether the file holds not all of the graph."""
    return any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer)


def values(tensor: Any, folder: Path) -> Any:
    """A tensor's values; those in a file of `folder` are mapped, not read."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    at = {entry.key: entry.value for entry in tensor.external_data}
    shape, kind = tuple(tensor.dims), helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return _mapped(folder / at["location"], kind, int(at.get("offset", 0)), shape)


def constants(model: Any) -> Iterator[Any]:
    """All tensors with values: weights, constants, those of branches, loops and functions."""
    yield from model.graph.initializer
    yield from _inner_tensors([*model.graph.node, *(n for f in model.functions for n in f.node)])


def write(model: Any, folder: Path, out: Path, *, beside: bool) -> None:
    """Writes the graph to `out`. `folder`: where weights that are not in it lie; `beside`: where they go."""
    for tensor in _inner_tensors([*model.graph.node, *(n for f in model.functions for n in f.node)]):
        # onnxruntime's quantizer moves the values of constants out as well.
        _take_in(tensor, folder)
    if beside:
        with data_file(out).open("wb") as file:
            for tensor in model.graph.initializer:
                _move_out(tensor, folder, file, data_file(out).name)
    else:
        for tensor in model.graph.initializer:
            _take_in(tensor, folder)
    out.write_bytes(model.SerializeToString(deterministic=True))


def openable(path: Path, scratch: Path) -> Path:
    """The file itself, or a copy in `scratch`: onnxruntime does not find shapes where small tensors lie beside."""
    model = read(path)
    beside = [t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    if all(values(tensor, path.parent).nbytes >= _SMALLEST for tensor in beside):
        return path
    copy = scratch / "openable.onnx"
    write(model, path.parent, copy, beside=True)
    return copy


def strip(model: Any) -> None:
    """Takes out places in source code and the exporter's own version."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    model.producer_version = model.producer_version.partition("+")[0]


def _inner_tensors(nodes: Any) -> Iterator[Any]:
    """Constants, and the tensors of branches and of bodies of loops, at any depth."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from graph.initializer
                yield from _inner_tensors(graph.node)


def _move_out(tensor: Any, folder: Path, file: Any, location: str) -> None:
    stored = _stored(tensor, folder)
    if stored is None or stored.nbytes < _SMALLEST:
        _take_in(tensor, folder)
        return
    file.write(bytes(-file.tell() % _ALIGNED))
    offset = file.tell()
    file.write(stored.data)
    for name in ("raw_data", "float_data", "int32_data", "int64_data", "external_data"):
        tensor.ClearField(name)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", stored.nbytes)):
        tensor.external_data.add(key=key, value=str(value))


def _take_in(tensor: Any, folder: Path) -> None:
    if tensor.data_location != TensorProto.EXTERNAL:
        return
    raw = _stored(tensor, folder).tobytes()
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.DEFAULT
    tensor.raw_data = raw


def _stored(tensor: Any, folder: Path) -> Any:
    """A tensor's bytes as they lie in a file, types of 4 bits packed; None for what cannot lie in one."""
    at = {entry.key: entry.value for entry in tensor.external_data}
    if tensor.data_location == TensorProto.EXTERNAL and "length" in at:
        length = int(at["length"])
        return _mapped(folder / at["location"], np.dtype(np.uint8), int(at.get("offset", 0)), (length,))
    if tensor.data_location != TensorProto.EXTERNAL and tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, np.uint8)
    if tensor.data_type not in _PLAIN:
        return None
    return np.ascontiguousarray(values(tensor, folder)).reshape(-1).view(np.uint8)


def _mapped(path: Path, kind: Any, offset: int, shape: tuple[int, ...]) -> Any:
    # A file that is mapped has at least one byte.
    return np.memmap(path, kind, "r", offset, shape) if math.prod(shape) else np.zeros(shape, kind)
