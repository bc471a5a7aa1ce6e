"""Reads an .onnx file: nodes, where the tensors lie, inputs and outputs. Only what a plan, a check and a decoder need.

Rule: no onnx package. The few messages are declared here by their field numbers and read by the protobuf runtime that
edgec has anyway, so that a model can be planned and an artifact checked where no toolchain is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from edgec.errors import EdgecError
from edgec.source.onnx_graph import Initializer, Node, OnnxGraph, Value

_EXTERNAL = 1
# Message -> fields: name, number, type (or message), repeated.
_INT, _INT32, _TEXT, _BYTES, _REAL = "int64", "int32", "string", "bytes", "float"
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
        ("float_data", 4, _REAL, True),
        ("int32_data", 5, _INT32, True),
        ("int64_data", 7, _INT, True),
        ("name", 8, _TEXT, False),
        ("raw_data", 9, _BYTES, False),
        ("external_data", 13, "Entry", True),
        ("data_location", 14, _INT, False),
    ),
    "SparseTensor": (("values", 1, "Tensor", False),),
    "Attribute": (
        ("name", 1, _TEXT, False),
        ("f", 2, _REAL, False),
        ("i", 3, _INT, False),
        ("s", 4, _BYTES, False),
        ("t", 5, "Tensor", False),
        ("g", 6, "Graph", False),
        ("floats", 7, _REAL, True),
        ("ints", 8, _INT, True),
        ("graphs", 11, "Graph", True),
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
    "Function": (
        ("name", 1, _TEXT, False),
        ("node", 7, "Node", True),
        ("domain", 10, _TEXT, False),
    ),
    "Graph": (
        ("node", 1, "Node", True),
        ("initializer", 5, "Tensor", True),
        ("input", 11, "Value", True),
        ("output", 12, "Value", True),
        ("sparse_initializer", 15, "SparseTensor", True),
    ),
    "Model": (
        ("ir_version", 1, _INT, False),
        ("producer_name", 2, _TEXT, False),
        ("producer_version", 3, _TEXT, False),
        ("graph", 7, "Graph", False),
        ("opset_import", 8, "Opset", True),
        ("functions", 25, "Function", True),
    ),
}
_PACKAGE = "edgec.onnx"


Damaged = Callable[[str, Path], EdgecError]


def read_onnx(path: Path, damaged: Damaged, *, with_data: bool = True) -> OnnxGraph:
    """The graph in a file. Raises what `damaged` makes of what is wrong with the file.

    Without `with_data`, tensors in the file keep their sizes and lose their bytes.
    """
    try:
        model = _model_class().FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise damaged(f"cannot be read: {error}", path) from error
    graph = model.graph

    def tensor(message: Any) -> Initializer:
        return _initializer(message, path, damaged, with_data=with_data)

    inner = [node for function in model.functions for node in function.node]
    parts = list(_parts([*graph.node, *inner]))
    return OnnxGraph(
        opsets={o.domain: o.version for o in model.opset_import},
        nodes=tuple(map(_node, graph.node)),
        initializers={t.name: tensor(t) for t in graph.initializer},
        inputs={v.name: _value(v) for v in graph.input},
        outputs={v.name: _value(v) for v in graph.output},
        functions=tuple(_op(f.domain, f.name) for f in model.functions),
        inner_nodes=tuple(map(_node, [*inner, *(node for part in parts for node in part.nodes)])),
        inner_tensors=tuple(tensor(t) for part in parts for t in part.tensors),
        constants={
            node.output[0]: tensor(a.t)
            for node in graph.node
            if node.op_type == "Constant" and not node.domain and node.output
            for a in node.attribute
            if a.HasField("t")
        },
        sparse=tuple(t.values.name for t in graph.sparse_initializer),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
    )


@dataclass(frozen=True)
class _Part:
    """What one attribute of a node holds."""

    nodes: tuple[Any, ...]
    tensors: tuple[Any, ...]


def _parts(nodes: Iterable[Any]) -> Iterator[_Part]:
    """Branches, bodies of loops and constants, at any depth."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield _Part((), (attribute.t,))
            for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield _Part(tuple(graph.node), tuple(graph.initializer))
                yield from _parts(graph.node)


def _op(domain: str, name: str) -> str:
    return f"{domain}::{name}" if domain not in ("", "ai.onnx") else name


def _node(node: Any) -> Node:
    return Node(
        op=_op(node.domain, node.op_type),
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


def _initializer(tensor: Any, path: Path, damaged: Damaged, *, with_data: bool) -> Initializer:
    entries = {e.key: e.value for e in tensor.external_data}
    is_external = tensor.data_location == _EXTERNAL
    try:
        offset, nbytes = int(entries.get("offset", "0")), int(entries.get("length", "0"))
    except ValueError as error:
        raise damaged(f"tensor '{tensor.name}' has no valid place in the data file", path) from error
    raw = None if is_external else bytes(tensor.raw_data)
    found = Initializer(
        name=tensor.name,
        elem_type=tensor.data_type,
        shape=tuple(tensor.dims),
        offset=offset,
        nbytes=nbytes if raw is None else len(raw),
        raw=raw,
        location=entries.get("location", "") if is_external else "",
    )
    if with_data:
        return found
    typed = any(map(len, (tensor.float_data, tensor.int32_data, tensor.int64_data)))
    size = found.whole_bytes or 0 if found.nbytes == 0 and (is_external or typed) else found.nbytes
    return replace(found, nbytes=size, raw=None if is_external else b"")


def _value(value: Any) -> Value:
    kind = value.type.tensor_type
    return Value(value.name, kind.elem_type, tuple(map(_dim, kind.shape.dim)))


def _dim(dim: Any) -> int | str:
    # Some exporters write -1 for what is open.
    return str(dim.dim_param) or (dim.dim_value if dim.dim_value > 0 else "")


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
