"""Runs in the toolchain `optimum`: smaller candidates of a user's graph, each run on samples and compared with it.

Rule: a route that fails is an answer, not an end; which candidate counts is decided by edgec.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy as np
import onnx
import onnxruntime
from graph_run import Reference, compare, feeds
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data

_SHOWN_CHARS = 200
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
# Axis of the weights that counts the outputs.
_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`model`: the float32 file; `scratch`: a folder, where candidates are left as `<name>/<file>`; `data`: the name of
    the file of their tensors beside it, or null; `routes`; `ranges`, `judged`: files of samples; `threads`.

    Answers `candidates`: name, size, sums of each output on `judged` and its share of time, or why it failed.
    """
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
            work.make(route, path)
            entry: dict[str, Any] = {"name": route["name"], "size_bytes": _size(path.parent)}
            if reference is not None:
                sums, seconds = compare(reference, path, threads)
                entry |= {"outputs": sums, "time_share": seconds / max(reference.seconds, 1e-9)}
        except Exception as error:  # whatever a quantizer raises, the other routes go on
            entry = {"name": route["name"], "failed": f"{type(error).__name__}: {error}"[:_SHOWN_CHARS]}
        found.append(entry)
    return {"candidates": found, "versions": {m.__name__: m.__version__ for m in (onnx, onnxruntime, np)}}


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


class _Work:
    """The float32 graph, ready for onnxruntime's quantizer, and ranges of its tensors once they were found."""

    def __init__(self, request: dict[str, Any], scratch: Path) -> None:
        self.path = Path(request["model"])
        self._scratch = scratch
        self._data = request["data"]
        self._ranges = request["ranges"]
        # Quantizers exclude nodes by name, and look for weights among the initializers alone.
        model = onnx.load(str(self.path))
        _lift_constants(model.graph)
        for number, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{number}"
        self._named, self._made = scratch / "named.onnx", scratch / "made.onnx"
        _save(model, self._named, self._data)

    def make(self, route: dict[str, Any], path: Path) -> None:
        """Writes the candidate of a route."""
        match route["method"]:
            case "weights":
                model = onnx.load(str(self._named))
                _weights_to_int8(model.graph)
                _save(model, path, self._data)
                return
            case "dynamic":
                quantize_dynamic(
                    str(self._named), str(self._made), op_types_to_quantize=["MatMul", "Gemm"],
                    weight_type=QuantType.QInt8, per_channel=route["per_channel"],
                    use_external_data_format=self._data is not None,
                )  # fmt: skip
            case "static":
                self._static(route)
        model = onnx.load(str(self._made))
        _save(model, path, self._data)

    def _static(self, route: dict[str, Any]) -> None:
        graph = onnx.load(str(self._named), load_external_data=False).graph
        wide = route["activation_bits"] == 16
        quantize_static(
            str(self._named), str(self._made), None, calibration_cache_path=str(self._found(route["ranges"])),
            quant_format=QuantFormat.QDQ, calibrate_method=_METHODS[route["ranges"]], weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt16 if wide else QuantType.QUInt8, per_channel=route["per_channel"],
            op_types_to_quantize=None if route["every_op"] else list(_WEIGHTED),
            nodes_to_exclude=[] if route["head"] else _head(graph), use_external_data_format=self._data is not None,
        )  # fmt: skip

    def _found(self, ranges: str) -> Path:
        """The ranges of all tensors, found sample by sample: all outputs of all samples would not fit into memory."""
        file = self._scratch / f"{ranges}.json"
        if not file.exists():
            extra = {} if ranges == "minmax" else {"symmetric": False}
            calibrator = create_calibrator(
                self._named, None, augmented_model_path=str(self._scratch / f"{ranges}-augmented.onnx"),
                calibrate_method=_METHODS[ranges], use_external_data_format=self._data is not None,
                extra_options=extra,
            )  # fmt: skip
            for sample in self._ranges:
                calibrator.collect_data(_Reader([sample]))
            save_tensors_data(calibrator.compute_data(), file)
        return file


def _lift_constants(graph: Any) -> None:
    """Constant nodes that hold a tensor become initializers, as most exporters write them."""
    for node in list(graph.node):
        tensor = next((a.t for a in node.attribute if a.name == "value" and a.HasField("t")), None)
        if node.op_type != "Constant" or node.domain or tensor is None:
            continue
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = node.output[0]
        graph.node.remove(node)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Samples, as onnxruntime's calibration asks for them."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._items: Iterator[dict[str, Any]] = feeds(paths)

    def get_next(self) -> dict[str, Any] | None:
        return next(self._items, None)


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


def _weights_to_int8(graph: Any) -> None:
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
            codes, scales = _codes(numpy_helper.to_array(tensor), axis)
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


def _codes(values: Any, axis: int) -> tuple[Any, Any]:
    """int8 codes and float32 scales, one for each index of `axis`."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    scales = (np.abs(values).max(axis=others, keepdims=True) / 127).astype(np.float32)
    scales[scales == 0] = 1
    return np.clip(np.rint(values / scales), -127, 127).astype(np.int8), scales.reshape(-1)


def _save(model: Any, path: Path, data: str | None) -> None:
    """Without what was inferred on the way, whatever wrote it."""
    del model.graph.value_info[:]
    if data is None:
        path.write_bytes(model.SerializeToString(deterministic=True))
        return
    path.with_name(data).unlink(missing_ok=True)
    onnx.save_model(model, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=data,
                    size_threshold=0)  # fmt: skip
