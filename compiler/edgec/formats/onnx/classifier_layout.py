"""An image classifier as one ONNX file, before it is made: an upper bound of its size, from the checkpoint's header.

Rule: the bound is held: a larger file is an error of the step that made it. What is quantized of it, and by which
routes, is as for any other graph.
"""

from __future__ import annotations

from edgec.formats.onnx.classifier import INPUT, OUTPUT, Classifier
from edgec.formats.onnx.graph import Port, UserGraph
from edgec.formats.onnx.graph_routes import GraphLayout, graph_layout
from edgec.formats.onnx.layout import MODEL_FILE, OPSET
from edgec.source.onnx_graph import FLOAT

# A node each for convolution, normalization and activation; attention takes more of them for each matrix.
_NODES = 16
_NODE_BYTES = 1024
_GRAPH_BYTES = 128 << 10
_FLOAT_BYTES = 4


def classifier_layout(classifier: Classifier, scheme: str) -> GraphLayout:
    """The layout of the classifier in `scheme`."""
    return graph_layout(classifier_graph(classifier), scheme)


def classifier_graph(classifier: Classifier) -> UserGraph:
    """The graph that will be exported, as far as the checkpoint's header shows."""
    nodes = _NODES * classifier.layers
    floats = _FLOAT_BYTES * (classifier.matrices + classifier.vectors)
    channels, height, width = classifier.shape[1:]
    return UserGraph(
        file=MODEL_FILE,
        opset=OPSET,
        producer="",
        inputs=(Port(INPUT, "float32", ("batch_size", channels, height, width)),),
        outputs=(Port(OUTPUT, "float32", ("batch_size", len(classifier.labels))),),
        operators={"": nodes},
        weights={"Conv": classifier.convolutions, "MatMul": classifier.matrices - classifier.convolutions},
        # Each output of a matrix has its bias or its normalization among the vectors.
        channels=classifier.vectors,
        float_bytes=floats,
        file_bytes=floats + _GRAPH_BYTES + nodes * _NODE_BYTES,
        external=False,
        elem_type=FLOAT,
        quantized=None,
    )


def float_layout(classifier: Classifier) -> GraphLayout:
    """The layout of the float32 graph that all artifacts of a recipe are made of."""
    return classifier_layout(classifier, "fp32")
