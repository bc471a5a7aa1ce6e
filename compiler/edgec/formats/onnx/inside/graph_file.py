"""ONNX files as the scripts beside this one read and write them: weights inside, or in one file `<name>.data` beside.

Rule: what is written depends on the graph and its weights alone; weights that lie beside are read one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Smaller tensors stay in the graph; larger ones begin at a multiple of this, so that they can be mapped.
_SMALLEST = 1024
_ALIGNED = 4096


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
    return np.memmap(folder / at["location"], kind, "r", int(at.get("offset", 0)), shape)


def write(model: Any, folder: Path, out: Path, *, beside: bool) -> None:
    """Writes the graph to `out`. `folder`: where weights that are not in it lie; `beside`: where they go."""
    for node in model.graph.node:
        # onnxruntime's quantizer moves the values of constants out as well.
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _take_in(attribute.t, values(attribute.t, folder))
    if beside:
        with data_file(out).open("wb") as file:
            for tensor in model.graph.initializer:
                _move_out(tensor, folder, file, data_file(out).name)
    else:
        for tensor in model.graph.initializer:
            _take_in(tensor, values(tensor, folder))
    out.write_bytes(model.SerializeToString(deterministic=True))


def strip(model: Any) -> None:
    """Takes out places in source code and the exporter's own version."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    model.producer_version = model.producer_version.partition("+")[0]


def _move_out(tensor: Any, folder: Path, file: Any, location: str) -> None:
    array = values(tensor, folder)
    if array.nbytes < _SMALLEST:
        _take_in(tensor, array)
        return
    file.write(bytes(-file.tell() % _ALIGNED))
    offset = file.tell()
    file.write(np.ascontiguousarray(array).data)
    for name in ("raw_data", "float_data", "int32_data", "int64_data", "external_data"):
        tensor.ClearField(name)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))


def _take_in(tensor: Any, array: Any) -> None:
    if tensor.data_location != TensorProto.EXTERNAL:
        return
    tensor.ClearField("external_data")
    tensor.data_location = TensorProto.DEFAULT
    tensor.raw_data = array.tobytes()
