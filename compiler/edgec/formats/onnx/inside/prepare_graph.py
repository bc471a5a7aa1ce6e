"""Runs in the toolchain `optimum`: a user's graph, checked, its inputs fixed, loaded once in onnxruntime.

Rule: the graph computes what the user's does; no operator is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy as np
import onnx
import onnxruntime
from faults import FaultError, blaming_the_model, or_fault
from graph_file import constants, read, values, write
from graph_run import open_session

# Below this a QuantizeLinear has no scale for each channel.
_QUANTIZABLE_OPSET = 13
# As numpy and the manifest name them.
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
_AGAIN = "export the model again; it is the file that is at fault"
_NAMES = {"float": "float32", "double": "float64"}


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`model`: the user's file; `out`: the file to write; `beside`: whether its tensors go into a file of their own;
    `shapes`: dimensions by input; `raise_opset`: whether it will be quantized; `threads`.

    Answers `inputs` and `outputs`: name, type and shape as onnxruntime sees them; `opset`.
    """
    answer: dict[str, Any] = or_fault(_run, request, progress)
    return answer


def _run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    path, out = Path(request["model"]), Path(request["out"])
    progress(0, 3, "steps", "check")
    with blaming_the_model("the model is not valid", _AGAIN):
        onnx.checker.check_model(str(path))
    model = read(path)
    _require_numbers(model, path.parent)
    _fix(model.graph, request["shapes"])
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if request["raise_opset"] and opset < _QUANTIZABLE_OPSET:
        # The converter looks into the tensors.
        onnx.load_external_data_for_model(model, str(path.parent))
        what, hint = f"opset {opset} cannot be raised to {_QUANTIZABLE_OPSET}", "export the model again with that opset"
        with blaming_the_model(what, f"{hint}, or more"):
            model = onnx.version_converter.convert_version(model, _QUANTIZABLE_OPSET)
    progress(1, 3, "steps", "write")
    write(model, path.parent, out, beside=request["beside"])
    del model
    progress(2, 3, "steps", "load")
    with blaming_the_model(f"onnxruntime {onnxruntime.__version__} does not load the model", _AGAIN):
        session = open_session(out, int(request["threads"]))
    return {
        "inputs": [_port(value) for value in session.get_inputs()],
        "outputs": [_port(value) for value in session.get_outputs()],
        "opset": opset,
        "versions": {m.__name__: m.__version__ for m in (onnx, onnxruntime)},
    }


def _require_numbers(model: Any, folder: Path) -> None:
    """Raises FaultError, naming the tensor: NaN in a weight makes every answer one."""
    for tensor in constants(model):
        if tensor.data_type not in _FLOATS:
            continue
        found = values(tensor, folder)
        # The smallest value is NaN where any is: no mask as large as the tensor.
        if found.size and np.isnan(found.min()):
            index = [int(i) for i in np.argwhere(np.isnan(found))[0]]
            hint = "the file is damaged, or training went wrong: export it again from a good checkpoint"
            raise FaultError(f"the tensor '{tensor.name}' is NaN at {index}", hint)


def _fix(graph: Any, shapes: dict[str, list[int]]) -> None:
    """Writes numbers into open dimensions, and what follows from a dimension's name everywhere it stands."""
    if not shapes:
        return
    names: dict[str, int] = {}
    for value in graph.input:
        for dim, number in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, []), strict=False):
            if dim.dim_param:
                names[dim.dim_param] = number
            dim.dim_value = number
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in names:
                dim.dim_value = names[dim.dim_param]
    # What an exporter inferred for open shapes.
    del graph.value_info[:]


def _port(value: Any) -> dict[str, Any]:
    kind = value.type.removeprefix("tensor(").rstrip(")")
    return {"name": value.name, "dtype": _NAMES.get(kind, kind), "shape": list(value.shape)}
