"""Reads model.onnx: nodes, where the tensors lie, inputs and outputs. Only what a check and a decoder need.

Rule: no onnx package. The few messages are declared here by their field numbers and read by the protobuf runtime that
edgec has anyway, so that an artifact can be checked where no toolchain is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from edgec.errors import EdgecError, ToolError

MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"

# ONNX's element types.
NUMPY_TYPES: Mapping[int, np.dtype[np.generic]] = {
    1: np.dtype("<f4"),
    3: np.dtype("i1"),
    6: np.dtype("<i4"),
    7: np.dtype("<i8"),
    10: np.dtype("<f2"),
}
FLOAT, INT8, INT32, INT64, FLOAT16 = 1, 3, 6, 7, 10

_EXTERNAL = 1
# Message -> fields: name, number, type (or message), repeated.
_INT, _TEXT, _BYTES, _REAL = "int64", "string", "bytes", "float"
_SCHEMA: Mapping[str, tuple[tuple[str, int, str, bool], ...]] = {
    "Entry": (("key", 1, _TEXT, False), ("value", 2, _TEXT, False)),
    "Opset": (("domain", 1, _TEXT, False), ("version", 2, _INT, False)),
    "Dim": (("dim_value", 1, _INT, False), ("dim_param", 2, _TEXT, False)),
    "Shape": (("dim", 1, "Dim", True),),
    "TensorType": (("elem_type", 1, _INT, False), ("shape", 2, "Shape", False)),
    "Type": (("tensor_type", 1, "TensorType", False),),
    "Value": (("name", 1, _TEXT, False), ("type", 2, "Type", False)),
    "Tensor": (
        ("dims", 1, _INT, True),
        ("data_type", 2, _INT, False),
        ("name", 8, _TEXT, False),
        ("raw_data", 9, _BYTES, False),
        ("external_data", 13, "Entry", True),
        ("data_location", 14, _INT, False),
    ),
    "Attribute": (
        ("name", 1, _TEXT, False),
        ("f", 2, _REAL, False),
        ("i", 3, _INT, False),
        ("s", 4, _BYTES, False),
        ("floats", 7, _REAL, True),
        ("ints", 8, _INT, True),
        ("type", 20, _INT, False),
    ),
    "Node": (
        ("input", 1, _TEXT, True),
        ("output", 2, _TEXT, True),
        ("name", 3, _TEXT, False),
        ("op_type", 4, _TEXT, False),
        ("attribute", 5, "Attribute", True),
        ("domain", 7, _TEXT, False),
        ("metadata_props", 9, "Entry", True),
    ),
    "Graph": (
        ("node", 1, "Node", True),
        ("initializer", 5, "Tensor", True),
        ("input", 11, "Value", True),
        ("output", 12, "Value", True),
    ),
    "Model": (
        ("ir_version", 1, _INT, False),
        ("graph", 7, "Graph", False),
        ("opset_import", 8, "Opset", True),
        ("functions", 25, _BYTES, True),
    ),
}
_PACKAGE = "edgec.onnx"


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
    """An input or output. A dimension is a number or the name of a variable one."""

    name: str
    elem_type: int
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """A model.onnx."""

    opsets: Mapping[str, int]
    nodes: tuple[Node, ...]
    initializers: Mapping[str, Initializer]
    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    functions: int


def read_onnx(path: Path) -> OnnxGraph:
    """The graph in a file. Raises ToolError when it is not one."""
    try:
        model = _model_class().FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise damaged(f"cannot be read: {error}", path) from error
    graph = model.graph
    return OnnxGraph(
        opsets={o.domain: o.version for o in model.opset_import},
        nodes=tuple(map(_node, graph.node)),
        initializers={t.name: _initializer(t, path) for t in graph.initializer},
        inputs={v.name: _value(v) for v in graph.input},
        outputs={v.name: _value(v) for v in graph.output},
        functions=len(model.functions),
    )


def damaged(what: str, path: Path) -> EdgecError:
    """An error about an exported file."""
    return ToolError.of(
        what, hint="export again; if it stays so, report it with the log of the export", place=str(path)
    )


def _node(node: Any) -> Node:
    op = f"{node.domain}::{node.op_type}" if node.domain else str(node.op_type)
    return Node(
        op=op,
        name=node.name,
        inputs=tuple(node.input),
        outputs=tuple(node.output),
        attributes={a.name: _attribute(a) for a in node.attribute},
        has_metadata=len(node.metadata_props) > 0,
    )


def _attribute(attribute: Any) -> int | float | bytes | tuple[float, ...]:
    kinds: Mapping[int, Any] = {1: attribute.f, 2: attribute.i, 3: attribute.s}
    lists: Mapping[int, Any] = {6: attribute.floats, 7: attribute.ints}
    if attribute.type in lists:
        return tuple(lists[attribute.type])
    value: int | float | bytes = kinds.get(attribute.type, b"")
    return value


def _initializer(tensor: Any, path: Path) -> Initializer:
    entries = {e.key: e.value for e in tensor.external_data}
    is_external = tensor.data_location == _EXTERNAL
    try:
        offset, nbytes = int(entries.get("offset", "0")), int(entries.get("length", "0"))
    except ValueError as error:
        raise damaged(f"tensor '{tensor.name}' has no valid place in the data file", path) from error
    return Initializer(
        name=tensor.name,
        elem_type=tensor.data_type,
        shape=tuple(tensor.dims),
        offset=offset,
        nbytes=nbytes if is_external else len(tensor.raw_data),
        raw=None if is_external else bytes(tensor.raw_data),
        location=entries.get("location", "") if is_external else "",
    )


def _value(value: Any) -> Value:
    kind = value.type.tensor_type
    return Value(value.name, kind.elem_type, tuple(d.dim_param or d.dim_value for d in kind.shape.dim))


@cache
def _model_class() -> Any:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="edgec/onnx.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _SCHEMA.items():
        declared = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            field = declared.field.add(name=name, number=number)
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind in _SCHEMA:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                field.type = getattr(field, f"TYPE_{kind.upper()}")
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))
