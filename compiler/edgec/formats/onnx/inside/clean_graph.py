"""What two exports of the same weights would differ in, taken out of a graph. Runs in the toolchain `optimum`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from graph_file import strip, values


def clean(model: Any, folder: Path) -> None:
    """Takes out places in source code, the exporter's own version, and second copies of a tensor.

    `folder`: where weights that are not in the graph lie.
    """
    strip(model)
    graph = model.graph
    first: dict[tuple[Any, ...], str] = {}
    renamed: dict[str, str] = {}
    for tensor in list(graph.initializer):
        digest = hashlib.sha256(np.ascontiguousarray(values(tensor, folder)).data).hexdigest()
        key = (tensor.data_type, tuple(tensor.dims), digest)
        if first.setdefault(key, tensor.name) != tensor.name:
            renamed[tensor.name] = first[key]
            graph.initializer.remove(tensor)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
