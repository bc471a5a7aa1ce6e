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
# Nodes, names and shapes: measured 0.1 MB for 6 layers in float32, 0.5 MB with quantizers around every operator.
_GRAPH_BYTES = 256 << 10
_LAYER_BYTES = 96 << 10
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class OnnxLayout:
    """Bounds in bytes. `float_bytes`: of the float32 graph; `bytes_by_type`: of the weights alone."""

    scheme: str
    routes: tuple[Route, ...]
    float_bytes: int
    size_bytes: int
    bytes_by_type: dict[str, int]

    @property
    def file(self) -> str:
        """Its name; artifacts of one bundle lie in one folder."""
        return f"model-{self.scheme}.onnx"


@dataclass(frozen=True)
class EncoderWeights:
    """Numbers of weights: of matrices, of those the second of each feed-forward (`down`), of tables, of all vectors."""

    linears: int
    down: int
    embeddings: int
    vectors: int


def plan_layout(encoder: Encoder, scheme: str) -> OnnxLayout:
    """The layout of the encoder in `scheme`."""
    routes = ROUTES[scheme]
    weights = count_weights(encoder)
    floats = _FLOAT_BYTES * (weights.linears + weights.embeddings + weights.vectors)
    graph = _GRAPH_BYTES + encoder.layers * _LAYER_BYTES
    if not routes:
        return OnnxLayout(scheme, routes, floats + graph, floats + graph, {"f32": floats})
    # `auto` may choose any of its routes: the largest counts.
    kept = weights.down if any(route.keep_down for route in routes) else 0
    codes = weights.linears + weights.embeddings - kept
    # One scale per row of the embedding and per output of a matrix, and its zero point.
    scales = encoder.vocabulary + encoder.positions + encoder.layers * (5 * encoder.width + encoder.inner)
    plain = _FLOAT_BYTES * (kept + weights.vectors + 2 * scales)
    return OnnxLayout(scheme, routes, floats + graph, codes + plain + graph, {"i8": codes, "f32": plain})


def count_weights(encoder: Encoder) -> EncoderWeights:
    """How many weights of each kind the encoder has."""
    width, inner, layers = encoder.width, encoder.inner, encoder.layers
    down = layers * width * inner
    return EncoderWeights(
        linears=layers * 4 * width * width + 2 * down,
        down=down,
        embeddings=(encoder.vocabulary + encoder.positions + encoder.types) * width,
        vectors=layers * (9 * width + inner) + 2 * width,
    )
