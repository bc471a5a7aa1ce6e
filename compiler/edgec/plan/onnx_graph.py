"""What becomes of a user's own .onnx file, by its graph: its inputs, a bound of its size, its fit, its samples.

Rule: what the graph leaves open and a step needs is asked for at its line in the recipe, before anything runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgec.errors import Diagnostic, InputError
from edgec.formats.image_settings import input_settings
from edgec.formats.onnx.graph import Port, UserGraph, read_graph, with_shapes
from edgec.formats.onnx.graph_faults import SIZED_BY_DATA
from edgec.formats.onnx.graph_routes import GraphLayout, graph_layout
from edgec.formats.samples import SampleInput, Samples
from edgec.plan.artifact import artifact_name
from edgec.plan.encoder import EncoderArtifact, runtime_of
from edgec.plan.fit import verdict_of
from edgec.plan.graph_plan import GraphPlan
from edgec.plan.graph_samples import calibration_samples, held_out_samples
from edgec.plan.graph_shapes import require_static, shape_text
from edgec.plan.model import ArtifactPlan, Fit, MemoryItem
from edgec.plan.onnx_settings import GRAPH_SCHEMES, refuse_decoder_settings
from edgec.plan.placed import placed_at
from edgec.recipe.load import LoadedRecipe
from edgec.recipe.model import Artifact
from edgec.recipe.onnx import OnnxArtifact
from edgec.source.model import CheckpointHeader, GraphFile
from edgec.source.onnx_graph import FLOAT
from edgec.target.model import Runtime, Target

_MIB = 2**20
# An estimate of the activations that onnxruntime holds at once, as a multiple of what goes in and out.
_ACTIVATIONS = 12
_SHOWN_OPERATORS = 6


@dataclass(frozen=True)
class OnnxGraphPlan(GraphPlan):
    """A user's graph to be quantized for onnxruntime."""

    settings: OnnxArtifact
    layout: GraphLayout

    @property
    def quantizes(self) -> bool:
        """Whether tools that need a recent opset change the graph."""
        return bool(self.layout.routes)


def plan_onnx_graph(
    loaded: LoadedRecipe, target: Target, header: CheckpointHeader, artifact: Artifact, index: int
) -> OnnxGraphPlan:
    """Plans the recipe's artifact number `index`. Raises InputError for what cannot be run, quantized or proven."""
    if header.graph is None or not isinstance(artifact, OnnxArtifact):
        hint = "set `format: onnx` or `rknn`"
        span = loaded.span("artifacts", index, "format")
        raise InputError(Diagnostic(f"an .onnx file does not become a `{artifact.format}`", hint, span))
    refuse_decoder_settings(loaded, target, artifact, index, GRAPH_SCHEMES)
    graph, shapes = planned_graph(loaded, header.graph, sum(f.size_bytes for f in header.identity.files))
    with placed_at(loaded, index):
        _refuse_scheme(graph, artifact.quantize.scheme)
    inputs = sample_inputs(loaded, graph)
    layout = graph_layout(graph, artifact.quantize.scheme)
    calibration = calibration_samples(loaded, artifact, index, inputs)
    held_out = held_out_samples(loaded, artifact, index, inputs, calibration)
    return OnnxGraphPlan(
        name=artifact_name(artifact),
        summary=_summary(target, artifact, graph, layout),
        numbers=graph_numbers(loaded, artifact, calibration),
        settings=artifact,
        graph=graph,
        layout=layout,
        inputs=inputs,
        shapes=shapes,
        calibration=calibration,
        held_out=held_out,
    )


def planned_graph(
    loaded: LoadedRecipe, source: GraphFile, file_bytes: int
) -> tuple[UserGraph, dict[str, tuple[int, ...]]]:
    """The graph with the shapes that the recipe fixes, and those shapes. Raises InputError, at the recipe's lines."""
    graph = read_graph(source, file_bytes)
    ports = {port.name: port for port in graph.inputs}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, wish in loaded.recipe.source.inputs.items():
        span = loaded.span("source", "inputs", name)
        if name not in ports:
            message = f"{graph.file} has no input `{name}`"
            raise InputError(Diagnostic(message, f"its inputs are {', '.join(ports)}", span))
        if wish.shape is not None:
            _require_fitting(loaded, ports[name], wish.shape)
            shapes[name] = wish.shape
    return with_shapes(graph, shapes), shapes


def _require_fitting(loaded: LoadedRecipe, port: Port, shape: Sequence[int]) -> None:
    fits = len(shape) == len(port.shape) and all(
        isinstance(dim, str) or dim == number for dim, number in zip(port.shape, shape, strict=True)
    )
    if not fits:
        message = f"the input `{port.name}` has the shape {shape_text(port.shape)}, which {list(shape)} does not fit"
        hint = "give as many dimensions, and change only those that are open"
        raise InputError(Diagnostic(message, hint, loaded.span("source", "inputs", port.name, "shape")))


def sample_inputs(loaded: LoadedRecipe, graph: UserGraph) -> tuple[SampleInput, ...]:
    """The inputs as samples fill them. Raises InputError for images without a size, or of another one."""
    return tuple(_sample_input(loaded, port) for port in graph.inputs)


def _sample_input(loaded: LoadedRecipe, port: Port) -> SampleInput:
    wish = loaded.recipe.source.inputs.get(port.name)
    if wish is None or wish.image is None:
        return SampleInput(port.name, port.dtype, port.shape)
    image, span = wish.image, loaded.span("source", "inputs", port.name, "image")
    if len(port.shape) != 4 or port.dtype != "float32":
        message = f"the input `{port.name}` is {port.dtype} of {shape_text(port.shape)}, which no image becomes"
        raise InputError(Diagnostic(message, "remove `image`, and give samples as .npy", span))
    rows, columns = (2, 3) if image.layout == "nchw" else (1, 2)
    if image.size is None:
        require_static(loaded, [port], "an image must be given a size", from_dim=1)
    height, width = image.size or (int(port.shape[rows]), int(port.shape[columns]))
    settings = input_settings(image, (height, width))
    for dim, number in zip(port.shape[1:], settings.shape, strict=True):
        if isinstance(dim, int) and dim != number:
            message = (
                f"an image as {image.layout} and {image.colour} is {list(settings.shape)}, and the input "
                f"`{port.name}` takes {shape_text(port.shape)}"
            )
            raise InputError(Diagnostic(message, "set `layout`, `colour` and `size` as the model wants them", span))
    return SampleInput(port.name, port.dtype, port.shape, settings)


def _refuse_scheme(graph: UserGraph, scheme: str) -> None:
    if scheme == "fp32":
        return
    hint = "set `scheme: fp32`, which takes the graph as it is"
    if graph.quantized is not None:
        raise InputError.of(f"{graph.file} is quantized already: it has `{graph.quantized}`", hint=hint)
    if graph.elem_type != FLOAT:
        raise InputError.of(f"the weights of {graph.file} are no float32", hint=f"export it in float32, or {hint}")
    if graph.weight_elements == 0:
        what = "no convolution or matrix product with constant weights"
        raise InputError.of(f"{graph.file} has {what}, so that nothing can be quantized", hint=hint)
    if scheme == "int8" and graph.mostly_convolutions:
        raise InputError.of(
            f"`int8` is for matrix products, and most weights of {graph.file} are in convolutions",
            hint="choose `auto` or `int8_static`, which calibrate, or `int8_fine`, which needs no samples",
        )


def graph_numbers(loaded: LoadedRecipe, artifact: EncoderArtifact, calibration: Samples | None) -> dict[str, Any]:
    """All in the recipe that decides what the artifact computes, its samples by their content."""
    data = artifact.model_dump(mode="json")
    if calibration is not None:
        data["quantize"]["calibration"] = calibration.digest
    inputs = loaded.recipe.source.inputs
    return {**data, "inputs": {name: wish.model_dump(mode="json") for name, wish in sorted(inputs.items())}}


def _summary(target: Target, artifact: OnnxArtifact, graph: UserGraph, layout: GraphLayout) -> ArtifactPlan:
    runtime = runtime_of(target, artifact)
    held = MemoryItem("weights, in the heap", layout.size_bytes * runtime.load_copies / _MIB, "read from the file")
    notes = graph_notes(graph)
    if len(layout.routes) > 1:
        notes = (*notes, f"{len(layout.routes)} routes are tried; the plan's size is that of the largest")
    return ArtifactPlan(
        name=artifact_name(artifact),
        format=artifact.format,
        scheme=artifact.quantize.scheme,
        context=0,
        output_bytes=layout.size_bytes,
        files=layout.files,
        bytes_by_type=layout.bytes_by_type,
        fit=graph_fit(target, runtime, graph, held),
        speeds=(),
        notes=notes,
        is_exact=False,
    )


def graph_fit(target: Target, runtime: Runtime, graph: UserGraph, weights: MemoryItem) -> Fit:
    """What running the graph takes of the target's memory. `weights`: as the runtime holds them."""
    ports = sum(port.least_bytes for port in (*graph.inputs, *graph.outputs))
    source = runtime.constant_provenance
    items = (
        weights,
        MemoryItem("activations", _ACTIVATIONS * ports / _MIB,
                   f"estimate: {_ACTIVATIONS} times the inputs and outputs of {ports / _MIB:.1f} MiB"),
        MemoryItem("runtime", float(runtime.constant_mib), f"{source.kind}: {source.note or source.source}"),
    )  # fmt: skip
    needed, available = sum(item.mib for item in items), float(target.memory.available_mib)
    verdict = verdict_of(needed, available)
    advice = "choose a smaller scheme, or smaller inputs" if verdict != "fits" else None
    return Fit(verdict, items, needed, available, advice, target.memory.total_mib, target.memory.os_reserve_mib)


def graph_notes(graph: UserGraph) -> tuple[str, ...]:
    """What the graph is, for people."""
    most = sorted(graph.operators.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN_OPERATORS]
    told = ", ".join(f"{count} {op}" for op, count in most)
    more = f" and {len(graph.operators) - len(most)} more kinds" if len(graph.operators) > len(most) else ""
    by = f", by {graph.producer}" if graph.producer else ""
    notes = [f"{graph.file}: opset {graph.opset}{by}, {graph.nodes} operations: {told}{more}"]
    sized = ", ".join(f"`{op}`" for op in sorted(SIZED_BY_DATA & graph.operators.keys()))
    if sized:
        notes.append(
            f"how many results {sized} gives depends on the data: where an output's size does, a number that moved a "
            "little makes it another, which cannot be compared; leave that operation to the program around the model"
        )
    for what, ports in (("input", graph.inputs), ("output", graph.outputs)):
        notes += [f"{what} {port.name}: {port.dtype} {shape_text(port.shape)}" for port in ports]
    return tuple(notes)
