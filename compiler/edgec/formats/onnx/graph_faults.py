"""What is wrong with a user's graph that its file alone shows: operators, opsets, how its nodes are joined.

Rule: what onnxruntime would refuse, or answer by chance, is told here, with the node, before anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from edgec.errors import Diagnostic
from edgec.source.onnx_graph import Node, OnnxGraph

# What they give is another thing each time.
_RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
)
# How large their result is depends on the numbers, not on the shapes.
SIZED_BY_DATA = frozenset(("NonZero", "NonMaxSuppression", "Unique", "Compress"))


def graph_faults(graph: OnnxGraph, file: str) -> Iterator[Diagnostic]:
    """All of them, the first of each kind."""
    yield from _opsets(graph, file)
    yield from _unknown(graph, file)
    yield from _random(graph, file)
    yield from _joints(graph, file)


def _opsets(graph: OnnxGraph, file: str) -> Iterator[Diagnostic]:
    known: Mapping[str, int] = _operators()["opsets"]
    for domain, version in graph.opsets.items():
        name = "" if domain == "ai.onnx" else domain
        if version > known.get(name, version):
            what = f"the domain `{name}`" if name else "ONNX"
            yield Diagnostic(
                f"the model has opset {version} of {what}, and onnxruntime {_operators()['onnxruntime']} takes "
                f"{known[name]} at most",
                f"export it again with opset {known[name]} or less",
                place=file,
            )


def _unknown(graph: OnnxGraph, file: str) -> Iterator[Diagnostic]:
    known, own = _operators()["operators"], set(graph.functions)
    for node in (*graph.nodes, *graph.inner_nodes):
        domain, _, op = node.op.rpartition("::")
        if node.op in own or op in known.get(domain, ()):
            continue
        whose = f"the domain `{domain}`" if domain else "ONNX's own domain"
        yield Diagnostic(
            f"{_named(node)} is a `{op}` of {whose}, which onnxruntime {_operators()['onnxruntime']} has not",
            "export the model without it: with standard operators, or with what it does left to the program around it",
            place=file,
        )


def _random(graph: OnnxGraph, file: str) -> Iterator[Diagnostic]:
    for node in (*graph.nodes, *graph.inner_nodes):
        if node.op in _RANDOM:
            yield Diagnostic(
                f"{_named(node)} is a `{node.op}`: the model gives another answer each time, which nothing can be "
                "compared with",
                "export the model without it, or make its random numbers an input",
                place=file,
            )


def _joints(graph: OnnxGraph, file: str) -> Iterator[Diagnostic]:
    """The first node that takes what is not there yet, and outputs that nobody makes."""
    makers = {name: node for node in graph.nodes for name in node.outputs if name}
    there = {*graph.inputs, *graph.initializers, *graph.sparse}
    for node in graph.nodes:
        missing = next((name for name in node.inputs if name and name not in there), None)
        if missing is not None:
            yield _unjoined(node, missing, makers, file)
            return
        twice = next((name for name in node.outputs if name and name in there), None)
        if twice is not None:
            hint = "export the model again: every name is made once"
            yield Diagnostic(f"{_named(node)} makes '{twice}', which is there before", hint, place=file)
            return
        there.update(node.outputs)
    for name in graph.outputs:
        if name not in there:
            yield Diagnostic(f"no node makes the output '{name}'", "export the model again", place=file)


def _unjoined(node: Node, missing: str, makers: Mapping[str, Node], file: str) -> Diagnostic:
    takes = f"{_named(node)} takes '{missing}'"
    if missing not in makers:
        hint = "export the model again, or give what it takes as an input or a tensor"
        return Diagnostic(f"{takes}, which is no input, no tensor and made by no node", hint, place=file)
    if _needs(makers[missing], node, makers):
        hint = "export the model again; what runs several times stands in a `Loop` or `Scan`"
        return Diagnostic(f"{takes}, which is made of its own result: the graph has a cycle", hint, place=file)
    hint = "export the model again, or sort its nodes"
    return Diagnostic(f"{takes}, which a later node makes: the nodes are not in order", hint, place=file)


def _needs(node: Node, wanted: Node, makers: Mapping[str, Node]) -> bool:
    """Whether `node` is computed from what `wanted` makes."""
    seen: set[int] = set()
    ahead = [node]
    while ahead:
        one = ahead.pop()
        if one is wanted:
            return True
        if id(one) not in seen:
            seen.add(id(one))
            ahead += [makers[name] for name in one.inputs if name in makers]
    return False


def _named(node: Node) -> str:
    return f"the node '{node.name}'" if node.name else f"the node that makes '{', '.join(node.outputs)}'"


@cache
def _operators() -> dict[str, Any]:
    """What onnxruntime's CPU provider runs, as the toolchain's own version says: names and last opsets by domain."""
    text = files(__package__).joinpath("operators.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data
