"""What every model for the NPU goes through in rknn-toolkit2: a graph that its toolkit takes, and the compilation.

Runs in the toolchain `rknn`, in the folder where the toolkit may leave its files.

Rule: a return code that is no success ends the process; one that is says nothing of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

# Below every score that a model computes: what exporters put where padding is.
_LOWEST = -1e30
FIXED = "fixed.onnx"


def prepare(path: Path, mask: float) -> list[str]:
    """Writes `fixed.onnx`, returns its inputs: no number beyond the NPU's, no reduction that the fuser may die of."""
    model = onnx.load(str(path))
    for tensor in _constants(model.graph):
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size and values.min() < _LOWEST:
            changed = np.where(values < _LOWEST, np.float32(mask), values)
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    keep_dimensions(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, FIXED)
    # Old files name their weights as inputs too.
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in weights]


def _constants(graph: Any) -> list[Any]:
    attributes = [a for node in graph.node if node.op_type == "Constant" for a in node.attribute if a.name == "value"]
    return [*graph.initializer, *(attribute.t for attribute in attributes)]


def keep_dimensions(graph: Any) -> int:
    """ReduceMean without its dimensions becomes one with them and a Squeeze; returns how many."""
    changed = 0
    for index, node in reversed(list(enumerate(graph.node))):
        keeps = next((a for a in node.attribute if a.name == "keepdims"), None)
        if node.op_type != "ReduceMean" or keeps is None or keeps.i:
            continue
        keeps.i = 1
        out, kept = node.output[0], f"{node.output[0]}_kept"
        node.output[0] = kept
        axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), None)
        if axes is not None:
            name = f"{out}_axes"
            graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), name))
        else:
            name = node.input[1] if len(node.input) > 1 else ""
        given = [kept, name] if name else [kept]
        graph.node.insert(index + 1, helper.make_node("Squeeze", given, [out], f"{out}_squeezed"))
        changed += 1
    return changed


def compiled(
    toolkit: Any,
    route: Mapping[str, Any],
    platform: str,
    shapes: Mapping[str, Sequence[int]],
    calibration: Sequence[Mapping[str, Any]],
) -> None:
    """Compiles `fixed.onnx`. `shapes`: of its inputs, in their order; `calibration`: arrays by input, for routes in 8
    bits."""
    mixed = route["mixed_cosine"] is not None
    settings: dict[str, Any] = {"target_platform": platform}
    if route["dtype"] == "w8a8":
        settings |= {"quantized_dtype": "w8a8", "quantized_algorithm": route["algorithm"]}
    if mixed:
        settings["auto_hybrid_cos_thresh"] = route["mixed_cosine"]
    succeeded(toolkit.config(**settings), "config")
    sizes = [list(shape) for shape in shapes.values()]
    succeeded(toolkit.load_onnx(model=FIXED, inputs=list(shapes), input_size_list=sizes), "load_onnx")
    if route["dtype"] == "w8a8":
        dataset = _dataset(list(shapes), calibration)
        succeeded(toolkit.build(do_quantization=True, dataset=dataset, auto_hybrid=mixed), "build")
    else:
        succeeded(toolkit.build(do_quantization=False), "build")


def _dataset(names: Sequence[str], calibration: Sequence[Mapping[str, Any]]) -> str:
    """The calibration samples as the toolkit reads them: one line of files each, relative to the list."""
    lines = []
    for number, arrays in enumerate(calibration):
        files = [f"{number}-{index}.npy" for index in range(len(names))]
        for file, name in zip(files, names, strict=True):
            np.save(file, arrays[name])
        lines.append(" ".join(files))
    Path("dataset.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "dataset.txt"


def succeeded(code: Any, what: str) -> None:
    """Ends the process when the toolkit's code is no success."""
    if code != 0:
        raise SystemExit(f"rknn-toolkit2: {what} answered {code}")


def versions() -> dict[str, str]:
    """Of what shapes the result."""
    return {name: version(name) for name in ("rknn-toolkit2", "onnx", "onnxruntime", "numpy", "torch")}


def in_onnxruntime(model: str, threads: int) -> Any:
    """A session of a float32 graph on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
