"""An image classifier as one ONNX file, before it is made: an upper bound of its size, from the checkpoint's header.

Rule: the bound is held: a larger file is an error of the step that made it.
"""

from __future__ import annotations

from edgec.formats.onnx.classifier import Classifier
from edgec.formats.onnx.layout import OnnxLayout

# Nodes, names and shapes. A node each for convolution, normalization and activation, three for each quantized tensor.
_GRAPH_BYTES = 128 << 10
_LAYER_BYTES = 16 << 10
_FLOAT_BYTES = 4


def plan_float_layout(classifier: Classifier) -> OnnxLayout:
    """The layout of the float32 graph."""
    floats = _FLOAT_BYTES * (classifier.matrices + classifier.vectors)
    size = floats + _GRAPH_BYTES + classifier.layers * _LAYER_BYTES
    return OnnxLayout("fp32", (), size, size, {"f32": floats})
