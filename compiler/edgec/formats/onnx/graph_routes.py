"""The routes from a user's graph to a smaller one, and the bound of what they write.

Rule: a route is data that the script in the toolchain understands; its settings are part of the action's key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgec.formats.onnx.graph import UserGraph

# Of the float32 graph that all artifacts of a recipe are made of.
GRAPH_FILE, DATA_FILE = "model.onnx", "model.onnx.data"

Ranges = Literal["minmax", "percentile", "entropy"]
# A bound of nodes, names, shapes and quantizers around every operator: four nets took 0.7 to 1.0 KB a node.
_NODE_BYTES = 4096
_GRAPH_BYTES = 256 << 10
_CHANNEL_BYTES = 48


@dataclass(frozen=True)
class GraphRoute:
    """One way to quantize.

    `method`: `dynamic` (matrix products with scales of activations found at run time) and `static` (QDQ, scales from
    calibration) are onnxruntime's own quantizer; `weights` writes int8 weights with a scale per output, and computes in
    float32. `head`: whether what follows the last weights is quantized too, where boxes and scores share one scale;
    `every_op`: all operators that onnxruntime quantizes, not those with weights alone; `ranges`: how ranges are found.
    """

    name: str
    title: str
    method: Literal["dynamic", "static", "weights"]
    per_channel: bool = True
    every_op: bool = False
    head: bool = False
    ranges: Ranges = "minmax"
    activation_bits: Literal[8, 16] = 8

    @property
    def in_integers(self) -> bool:
        """Whether onnxruntime computes it in 8-bit integers."""
        return self.method == "dynamic" or (self.method == "static" and self.activation_bits == 8)


_WEIGHTS = GraphRoute("weights", "weights alone, a scale per channel; computed in float32", "weights")
_DYNAMIC = GraphRoute("dynamic", "dynamic, matrix products, a scale per channel", "dynamic")
_DEFAULT = GraphRoute(
    "static-all", "static QDQ, every operator (onnxruntime's default)", "static", False, every_op=True, head=True
)
_STATIC = GraphRoute("static", "static QDQ, a scale per channel, the head in float32", "static", every_op=True)
_OTHERS = (
    GraphRoute(
        "static-percentile", "the same, ranges without the outermost 0.001 %", "static", every_op=True,
        ranges="percentile",
    ),
    GraphRoute("static-entropy", "the same, ranges by entropy", "static", every_op=True, ranges="entropy"),
    GraphRoute("static-u16", "static QDQ, weights' operators, activations of 16 bits", "static", activation_bits=16),
)  # fmt: skip


def graph_routes(graph: UserGraph, scheme: str) -> tuple[GraphRoute, ...]:
    """The routes that a scheme tries for this graph."""
    match scheme:
        case "fp32":
            return ()
        case "int8":
            return (_DYNAMIC,)
        case "int8_static":
            return (_STATIC, *_OTHERS[:2])
        case "int8_fine":
            return (_WEIGHTS,)
    dynamic = () if graph.mostly_convolutions else (_DYNAMIC,)
    return (_DEFAULT, _STATIC, *_OTHERS, *dynamic, _WEIGHTS)


@dataclass(frozen=True)
class GraphLayout:
    """A file to be. Bounds in bytes; `bytes_by_type`: of its tensors alone."""

    scheme: str
    routes: tuple[GraphRoute, ...]
    float_bytes: int
    size_bytes: int
    bytes_by_type: dict[str, int]
    external: bool

    @property
    def file(self) -> str:
        """Its name; artifacts of one bundle lie in one folder."""
        return f"model-{self.scheme}.onnx"

    @property
    def data_file(self) -> str | None:
        """The file of its tensors, None when they lie in the model. The model itself names it."""
        if not self.external:
            return None
        return f"{self.file}.data" if self.routes else DATA_FILE

    @property
    def files(self) -> tuple[str, ...]:
        """All of its files, the one to open first."""
        return (self.file, *([] if self.data_file is None else [self.data_file]))


def graph_layout(graph: UserGraph, scheme: str) -> GraphLayout:
    """The layout of the graph in `scheme`."""
    routes = graph_routes(graph, scheme)
    skeleton = _GRAPH_BYTES + graph.nodes * _NODE_BYTES + max(0, graph.file_bytes - graph.float_bytes)
    floats = graph.float_bytes
    if not routes:
        return GraphLayout(scheme, routes, floats, floats + skeleton, {"f32": floats}, graph.external)
    codes = graph.weight_elements
    plain = floats - 4 * codes + graph.channels * _CHANNEL_BYTES
    return GraphLayout(scheme, routes, floats, codes + plain + skeleton, {"i8": codes, "f32": plain}, graph.external)
