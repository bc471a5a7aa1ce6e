"""Runs in the toolchain `optimum`: smaller candidates of a user's graph, each run on samples and compared with it.

Rule: a route that fails is an answer, not an end; which candidate counts is decided by edgec.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy as np
import onnx
import onnxruntime
from faults import or_fault
from graph_file import data_file, read, size_bytes, values, write
from graph_ranges import METHODS, Ranges
from graph_run import Reference, compare
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
from time_limit import TooLong, at_most

_SHOWN_CHARS = 200
_WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
# Axis of the weights that counts the outputs.
_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`model`: the float32 file; `scratch`: a folder, where candidates are left as `<name>/<file>`; `beside`: whether
    their tensors go into a file of their own; `routes`; `route_limit_s`: for each; `ranges`, `judged`: files of
    samples; `threads`.

    Answers `candidates`: name, size, sums of each output on `judged` and its share of time, or why it failed.
    """
    answer: dict[str, Any] = or_fault(_run, request, progress)
    return answer


def _run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    os.umask(0o022)
    scratch = Path(request["scratch"])
    # Tools leave files where they run.
    os.chdir(scratch)
    work, threads = _Work(request, scratch), int(request["threads"])
    judged = request["judged"]
    reference = Reference(work.path, judged, scratch, threads) if judged else None
    found = []
    for done, route in enumerate(request["routes"]):
        progress(done, len(request["routes"]), "routes", route["title"])
        path = scratch / route["name"] / request["file"]
        try:
            path.parent.mkdir()
            with at_most(request["route_limit_s"]):
                work.make(route, path)
                entry: dict[str, Any] = {"name": route["name"], "size_bytes": size_bytes(path)}
                if reference is not None:
                    sums, seconds = compare(reference, path, threads)
                    entry |= {"outputs": sums, "time_share": seconds / max(reference.seconds, 1e-9)}
        except TooLong:
            entry = {"name": route["name"], "failed": f"took longer than {request['route_limit_s']} s"}
        except Exception as error:  # whatever a quantizer raises, the other routes go on
            entry = {"name": route["name"], "failed": f"{type(error).__name__}: {error}"[:_SHOWN_CHARS]}
        found.append(entry)
    return {"candidates": found, "versions": {m.__name__: m.__version__ for m in (onnx, onnxruntime, np)}}


class _Work:
    """The float32 graph, ready for onnxruntime's quantizer, and ranges of its tensors once they were found."""

    def __init__(self, request: dict[str, Any], scratch: Path) -> None:
        self.path = Path(request["model"])
        self._scratch = scratch
        self._beside = request["beside"]
        # Quantizers exclude nodes by name, and look for weights among the initializers alone.
        model = read(self.path)
        _lift_constants(model.graph)
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
        self._named, self._made = scratch / "named.onnx", scratch / "made.onnx"
        self._ranges = Ranges(self._named, scratch, request["ranges"], beside=self._beside)
        _write(model, self.path.parent, self._named, beside=self._beside)

    def make(self, route: dict[str, Any], path: Path) -> None:
        """Writes the candidate of a route."""
        # onnx appends to a file of tensors that is there.
        data_file(self._made).unlink(missing_ok=True)
        match route["method"]:
            case "weights":
                model = read(self._named)
                _weights_to_int8(model.graph, self._scratch)
                _write(model, self._scratch, path, beside=self._beside)
                return
            case "dynamic":
                quantize_dynamic(
                    str(self._named), str(self._made), op_types_to_quantize=["MatMul", "Gemm"],
                    weight_type=QuantType.QInt8, per_channel=route["per_channel"],
                    use_external_data_format=self._beside,
                )  # fmt: skip
            case "static":
                self._static(route)
        _write(read(self._made), self._scratch, path, beside=self._beside)

    def _static(self, route: dict[str, Any]) -> None:
        graph = read(self._named).graph
        wide = route["activation_bits"] == 16
        quantize_static(
            str(self._named), str(self._made), None, calibration_cache_path=str(self._ranges.file(route["ranges"])),
            quant_format=QuantFormat.QDQ, calibrate_method=METHODS[route["ranges"]], weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt16 if wide else QuantType.QUInt8, per_channel=route["per_channel"],
            op_types_to_quantize=None if route["every_op"] else list(_WEIGHTED),
            nodes_to_exclude=[] if route["head"] else _head(graph), use_external_data_format=self._beside,
        )  # fmt: skip


def _lift_constants(graph: Any) -> None:
    """Constant nodes that hold a tensor become initializers, as most exporters write them."""
    for node in list(graph.node):
        tensor = next((a.t for a in node.attribute if a.name == "value" and a.HasField("t")), None)
        if node.op_type != "Constant" or node.domain or tensor is None:
            continue
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = node.output[0]
        graph.node.remove(node)


def _head(graph: Any) -> list[str]:
    """Names of the nodes after which no operator with weights comes, but for those with weights themselves."""
    constants = {tensor.name for tensor in graph.initializer}
    needed: set[str] = set()
    head = []
    for node in reversed(graph.node):
        weighted = node.op_type in _WEIGHTED and len(node.input) > 1 and node.input[1] in constants
        if weighted or any(name in needed for name in node.output):
            needed.update(node.input)
        else:
            head.append(node.name)
    return head


def _weights_to_int8(graph: Any, folder: Path) -> None:
    """W -> DequantizeLinear(codes, scale per output); each tensor once, however many nodes read it."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made: dict[str, Any] = {}
    for node in graph.node:
        tensor = constants.get(node.input[1]) if node.op_type in _WEIGHTED and len(node.input) > 1 else None
        if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        axis = _axis(node, len(tensor.dims))
        name = f"{tensor.name}_{axis}"
        if name not in made:
            codes, scales = _codes(values(tensor, folder), axis)
            given = [f"{name}_q8", f"{name}_scale"]
            graph.initializer.extend(
                [numpy_helper.from_array(codes, given[0]), numpy_helper.from_array(scales, given[1])]
            )
            made[name] = helper.make_node("DequantizeLinear", given, [f"{name}_wide"], f"{name}_dequantize", axis=axis)
        node.input[1] = f"{name}_wide"
    for node in made.values():
        graph.node.insert(0, node)
    still = {name for node in graph.node for name in node.input}
    for tensor in constants.values():
        if tensor.name not in still:
            graph.initializer.remove(tensor)


def _axis(node: Any, rank: int) -> int:
    if node.op_type == "Gemm":
        turned = next((a.i for a in node.attribute if a.name == "transB"), 0)
        return 0 if turned else 1
    return rank - 1 if node.op_type == "MatMul" else _AXES[node.op_type]


def _codes(weights: Any, axis: int) -> tuple[Any, Any]:
    """int8 codes and float32 scales, one for each index of `axis`."""
    others = tuple(i for i in range(weights.ndim) if i != axis)
    scales = (np.abs(weights).max(axis=others, keepdims=True) / 127).astype(np.float32)
    scales[scales == 0] = 1
    return np.clip(np.rint(weights / scales), -127, 127).astype(np.int8), scales.reshape(-1)


def _write(model: Any, folder: Path, out: Path, *, beside: bool) -> None:
    """Without what was inferred on the way, whatever wrote it."""
    del model.graph.value_info[:]
    write(model, folder, out, beside=beside)
