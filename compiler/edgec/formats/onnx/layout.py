"""An ONNX artifact before it is made: its file and an upper bound of its size, from the checkpoint's header.

Rule: the bound is held: a larger file is an error of the step that made it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.formats.onnx.encoder import Encoder
from edgec.formats.onnx.routes import ROUTES, Route

# The float32 graph that all artifacts of a recipe are made of.
MODEL_FILE = "model.onnx"
OPSET = 18
# Protobuf takes no larger message: the weights of a model that may become larger lie in a second file.
SINGLE_FILE_BYTES = (1 << 31) - 1
# Nodes, names and shapes: measured 0.1 MB for 6 layers in float32, 0.5 MB with quantizers around every operator.
_GRAPH_BYTES = 256 << 10
_LAYER_BYTES = 96 << 10
_FLOAT_BYTES = 4
# 32 weights of 4 bits, their scale, and a zero point of half a byte.
_BLOCK, _BLOCK_BYTES = 32, 21


@dataclass(frozen=True)
class OnnxLayout:
    """Bounds in bytes. `float_bytes`: of the float32 graph; `bytes_by_type`: of the weights alone.

    `start_bytes`: of the graph that quantizers begin with, whose tables have fewer bits where every route wants that;
    `for_browser`: whether it is made for onnxruntime-web.
    `beside`, `graph_beside`: whether the weights of the artifact, and of the float32 graph, lie in a second file.
    """

    scheme: str
    routes: tuple[Route, ...]
    float_bytes: int
    size_bytes: int
    bytes_by_type: dict[str, int]
    start_bytes: int
    for_browser: bool = False
    beside: bool = False
    graph_beside: bool = False

    @property
    def file(self) -> str:
        """Its name; artifacts of one bundle lie in one folder."""
        return f"model-{self.scheme}.onnx"

    @property
    def files(self) -> tuple[str, ...]:
        """All of it. A graph names the file of its weights: an unchanged one that of the graph it is a copy of."""
        return (self.file, data_file(self.file if self.routes else MODEL_FILE)) if self.beside else (self.file,)

    @property
    def graph_files(self) -> tuple[str, ...]:
        """Those of the float32 graph."""
        return (MODEL_FILE, data_file(MODEL_FILE)) if self.graph_beside else (MODEL_FILE,)


@dataclass(frozen=True)
class EncoderWeights:
    """Numbers of weights: of matrices, of those the second of each feed-forward (`down`), of tables, of all vectors."""

    linears: int
    down: int
    embeddings: int
    vectors: int


def data_file(name: str) -> str:
    """The file beside a graph that its weights lie in."""
    return f"{name}.data"


def plan_layout(encoder: Encoder, scheme: str, *, for_browser: bool = False) -> OnnxLayout:
    """The layout of the encoder in `scheme`."""
    routes = ROUTES[scheme]
    weights = count_weights(encoder)
    graph = _GRAPH_BYTES + encoder.layers * _LAYER_BYTES
    floats = _FLOAT_BYTES * (weights.linears + weights.embeddings + weights.vectors)
    # `auto` may choose any of its routes: the largest counts.
    sizes = [_bytes_by_type(encoder, weights, route) for route in routes]
    by_type = max(sizes, key=lambda each: sum(each.values()), default={"f32": floats})
    size = sum(by_type.values()) + graph
    start = floats if any(r.embedding == "tensor" for r in routes) else floats - 3 * weights.embeddings
    return OnnxLayout(
        scheme, routes, floats + graph, size, by_type, start + graph, for_browser,
        beside=size > SINGLE_FILE_BYTES, graph_beside=floats + graph > SINGLE_FILE_BYTES,
    )  # fmt: skip


def _bytes_by_type(encoder: Encoder, weights: EncoderWeights, route: Route) -> dict[str, int]:
    """Bounds of what the route makes of the weights."""
    # One scale per row of the embedding and per output of a matrix, and its zero point.
    scales = encoder.vocabulary + encoder.position_rows + encoder.layers * (6 * encoder.width + 2 * encoder.inner)
    if route.method == "blocks" and not (encoder.width % _BLOCK or encoder.inner % _BLOCK):
        wide = 0 if not route.keep_attention else encoder.layers * 4 * encoder.width**2
        blocks = weights.linears + weights.embeddings - wide
        plain = _FLOAT_BYTES * (weights.vectors + encoder.types * encoder.width + 2 * scales)
        return {"i4": blocks * _BLOCK_BYTES // _BLOCK, "i8": wide, "f32": plain}
    kept = weights.down if route.keep_down else 0
    codes = weights.linears + weights.embeddings - kept
    return {"i8": codes, "f32": _FLOAT_BYTES * (kept + weights.vectors + 2 * scales)}


def count_weights(encoder: Encoder) -> EncoderWeights:
    """How many weights of each kind the encoder has."""
    width, inner, layers = encoder.width, encoder.inner, encoder.layers
    down = layers * width * inner
    # A reranker has one matrix more, and the row that makes a score.
    head, row = (width * width, 2 * width + 1) if encoder.kind == "reranker" else (0, 0)
    return EncoderWeights(
        linears=layers * 4 * width * width + (3 if encoder.is_gated else 2) * down + head,
        down=down,
        embeddings=(encoder.vocabulary + encoder.position_rows + encoder.types) * width,
        vectors=layers * (9 * width + inner) + 2 * width + row + encoder.biases,
    )
