"""What two exports of the same weights would differ in, taken out of a graph. Runs in the toolchain `optimum`."""

from __future__ import annotations

import hashlib
from typing import Any

import onnx


def clean(model: Any) -> None:
    """Takes out places in source code, the exporter's own version, and second copies of a tensor."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    model.producer_version = model.producer_version.partition("+")[0]
    first: dict[tuple[Any, ...], str] = {}
    renamed: dict[str, str] = {}
    for tensor in list(graph.initializer):
        digest = hashlib.sha256(onnx.numpy_helper.to_array(tensor).tobytes()).hexdigest()
        key = (tensor.data_type, tuple(tensor.dims), digest)
        if first.setdefault(key, tensor.name) != tensor.name:
            renamed[tensor.name] = first[key]
            graph.initializer.remove(tensor)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
