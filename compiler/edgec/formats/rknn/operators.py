"""Which operators of ONNX rknn-toolkit2 takes: those that Rockchip's list names, and those that were tried.

Rule: what neither names is refused before the toolkit runs, with its node. A name here does not say that the NPU itself
computes it (the runtime has a CPU), nor that every attribute is taken: that the toolkit says, and the proof judges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from edgec.errors import Diagnostic
from edgec.source.onnx_graph import Node, OnnxGraph

_ONNX = ("", "ai.onnx")


def refused_operators(graph: OnnxGraph, file: str) -> Iterator[Diagnostic]:
    """What the toolkit will not take, each with its node."""
    data, own = _operators(), set(graph.functions)
    known = {*data["published"], *data["tried"]}
    for node in (*graph.nodes, *graph.inner_nodes):
        domain, _, op = node.op.rpartition("::")
        if domain in _ONNX and op in known and node.op not in own:
            continue
        whose = "a function of the file's own" if node.op in own else f"of the domain `{domain}`" if domain else None
        what = f"`{op}`" if whose is None else f"`{op}`, {whose}"
        yield Diagnostic(
            f"{_told(node)} is a {what}, which rknn-toolkit2 {data['toolkit']} does not take",
            "export the model without it: cut the graph before it and leave the rest to the program, or use "
            "`format: onnx`, for CPUs",
            place=file,
        )


def last_opset() -> int:
    """The newest opset that the toolkit reads."""
    return int(_operators()["last_opset"])


def toolkit_version() -> str:
    """The toolkit that all of this is about."""
    return str(_operators()["toolkit"])


def _told(node: Node) -> str:
    return f"the node '{node.name}'" if node.name else f"the node that makes '{', '.join(node.outputs)}'"


@cache
def _operators() -> dict[str, Any]:
    """`published`: of Rockchip's list for ONNX, the last one in plain text; `tried`: others that this version compiled
    and simulated beside onnxruntime, each behind a convolution."""
    data: dict[str, Any] = json.loads(files(__package__).joinpath("operators.json").read_text(encoding="utf-8"))
    return data
