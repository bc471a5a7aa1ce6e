"""What an RKNN model of a user's own .onnx file will be, by its graph: fixed shapes, operators that are taken.

Rule: what rknn-toolkit2 would refuse, or fail on without a word, is refused here, with its node or its line.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgec.errors import Diagnostic, InputError
from edgec.formats.onnx.graph import Port, UserGraph
from edgec.formats.rknn.layout import RknnLayout, plan_layout
from edgec.formats.rknn.operators import last_opset, refused_operators, toolkit_version
from edgec.plan.artifact import artifact_name
from edgec.plan.encoder import runtime_of
from edgec.plan.graph_plan import GraphPlan
from edgec.plan.graph_samples import calibration_samples, held_out_samples
from edgec.plan.graph_shapes import require_static
from edgec.plan.model import ArtifactPlan, MemoryItem
from edgec.plan.onnx_graph import graph_fit, graph_notes, graph_numbers, planned_graph, sample_inputs
from edgec.plan.placed import placed_at
from edgec.plan.rknn_classifier import rknn_notes
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.rknn import RknnArtifact
from edgec.source.model import CheckpointHeader, GraphFile
from edgec.source.onnx_graph import FLOAT
from edgec.target.model import Target

_SHOWN = 3
_MIB = 2**20
_FLOAT_BYTES = 4
# Operations that take as much of the file beside the weights as one layer of an encoder; measured in docs/rknn.md.
_LAYER_NODES = 8
_INPUT_TYPES = ("float32", "int64")


@dataclass(frozen=True)
class RknnGraphPlan(GraphPlan):
    """A user's graph to be compiled for the NPU."""

    settings: RknnArtifact
    layout: RknnLayout

    @property
    def quantizes(self) -> bool:
        """The toolkit asks for a recent opset, whatever the scheme."""
        return True


def plan_rknn_graph(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: RknnArtifact, index: int
) -> RknnGraphPlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what cannot be compiled or proven."""
    if header.graph is None:
        raise ValueError("the source is no graph")
    graph, shapes = planned_graph(loaded, header.graph, sum(f.size_bytes for f in header.identity.files))
    with placed_at(loaded, index):
        _refuse(header.graph, graph)
    require_static(loaded, graph.inputs, "the NPU takes fixed shapes alone")
    inputs = sample_inputs(loaded, graph)
    for port in graph.inputs:
        _refuse_port(loaded, port)
    _refuse_scalars(loaded, graph)
    layout = plan_layout(
        embeddings=0, others=graph.float_bytes // _FLOAT_BYTES, layers=1 + graph.nodes // _LAYER_NODES,
        scheme=artifact.quantize.scheme,
    )  # fmt: skip
    calibration = calibration_samples(loaded, artifact, index, inputs)
    return RknnGraphPlan(
        name=artifact_name(artifact),
        summary=_summary(target, artifact, graph, layout),
        numbers=graph_numbers(loaded, artifact, calibration),
        settings=artifact,
        graph=graph,
        layout=layout,
        inputs=inputs,
        shapes=shapes,
        calibration=calibration,
        held_out=held_out_samples(loaded, artifact, index, inputs, calibration),
    )


def _refuse(source: GraphFile, graph: UserGraph) -> None:
    onnx = "`format: onnx` takes it, for CPUs"
    if graph.opset > last_opset():
        raise InputError.of(
            f"{graph.file} has opset {graph.opset}, and rknn-toolkit2 {toolkit_version()} reads {last_opset()} at most",
            hint=f"export it again with opset {last_opset()} or less; {onnx}",
        )
    if graph.quantized is not None:
        message = f"{graph.file} is quantized already: it has `{graph.quantized}`"
        raise InputError.of(message, hint=f"export it in float32: the toolkit finds scales of its own; {onnx}")
    refused = list(refused_operators(source.graph, source.name))
    if refused:
        raise InputError(*refused[:_SHOWN])
    if graph.elem_type != FLOAT:
        raise InputError.of(
            f"the weights of {graph.file} are no float32", hint="export it in float32: `fp16` rounds it"
        )


def _refuse_port(loaded: LoadedRecipe, port: Port) -> None:
    span = loaded.span("source", "inputs", port.name) or loaded.span("source", "path")
    if port.dtype not in _INPUT_TYPES:
        message = f"the input `{port.name}` is {port.dtype}; this version compiles inputs of {', '.join(_INPUT_TYPES)}"
        raise InputError(Diagnostic(message, "export the model with such an input, or use `format: onnx`", span))
    if len(port.shape) > 1 and port.shape[0] != 1:
        message = f"the input `{port.name}` takes {port.shape[0]} samples at once, and the NPU's model takes one"
        raise InputError(Diagnostic(message, "make the first dimension of its shape 1", span))


def _refuse_scalars(loaded: LoadedRecipe, graph: UserGraph) -> None:
    for port in graph.outputs:
        if port.shape == ():
            message = f"the output `{port.name}` has no dimensions, and the NPU's model would give it one"
            hint = "export the model with a Reshape to [1] behind it"
            raise InputError(Diagnostic(message, hint, loaded.span("source", "path")))


def _summary(target: Target, artifact: RknnArtifact, graph: UserGraph, layout: RknnLayout) -> ArtifactPlan:
    held = MemoryItem("weights", layout.device_bytes / _MIB, "as the NPU holds them")
    return ArtifactPlan(
        name=artifact_name(artifact),
        format=artifact.format,
        scheme=artifact.quantize.scheme,
        context=0,
        output_bytes=layout.size_bytes,
        files=(layout.file,),
        bytes_by_type=layout.bytes_by_type,
        fit=graph_fit(target, runtime_of(target, artifact), graph, held),
        speeds=(),
        notes=(*graph_notes(graph), *rknn_notes(layout)),
        is_exact=False,
    )
