"""Runs in the toolchain `optimum`: quantized candidates of one float32 graph, each run on a text and compared with it.

Rule: a route that fails is an answer, not an end; which candidate counts is decided by edgec.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy as np
import onnx
import onnxruntime
from integer_products import channel_peaks, even_out, fold_shapes
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

_OUTPUT = "last_hidden_state"
# Smaller tables gain nothing: positions of short models, token types.
_SMALLEST_TABLE = 1 << 14
_SHOWN_CHARS = 200


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`model`: the float32 file; `scratch`: a folder, where candidates are left as `<name>.onnx`; `routes`;
    `ranges`, `judged`: lists of token ids; `pooling`; `threads`.

    Answers `candidates`: name, size, cosines to the float32 model on `judged` and its share of time, or why it failed.
    """
    os.umask(0o022)
    scratch = Path(request["scratch"])
    # Tools leave files where they run.
    os.chdir(scratch)
    source = _Source(Path(request["model"]), scratch, request["ranges"])
    judged = request["judged"]
    reference, reference_s = _vectors(source.path, judged, request) if judged else (None, 0.0)
    found = []
    for done, route in enumerate(request["routes"]):
        progress(done, len(request["routes"]), "routes", route["title"])
        path = scratch / f"{route['name']}.onnx"
        try:
            _make(source, route, path)
            vectors, seconds = _vectors(path, judged or request["ranges"][:1] or [[0, 1]], request)
        except Exception as error:  # whatever a quantizer raises, the other routes go on
            found.append({"name": route["name"], "failed": f"{type(error).__name__}: {error}"[:_SHOWN_CHARS]})
            continue
        entry = {"name": route["name"], "size_bytes": path.stat().st_size}
        if reference is not None:
            entry |= _agreement(reference, vectors) | {"time_share": seconds / reference_s}
        found.append(entry)
    return {
        "candidates": found,
        "versions": {m.__name__: m.__version__ for m in (onnx, onnxruntime, np)},
    }


class _Source:
    """The float32 graph, as it is and with its embedding in int8."""

    def __init__(self, path: Path, scratch: Path, ranges: list[list[int]]) -> None:
        self.path = path
        self.ranges = ranges
        self.scratch = scratch
        self._with_rows = scratch / "rows.onnx"

    def with_rows(self) -> Path:
        """The same graph with tables in int8, a scale for each row."""
        if not self._with_rows.exists():
            model = onnx.load(str(self.path))
            _tables_to_rows(model.graph)
            onnx.save(model, str(self._with_rows))
        return self._with_rows


def _make(source: _Source, route: dict[str, Any], path: Path) -> None:
    start = source.with_rows() if route["embedding"] == "row" else source.path
    match route["method"]:
        case "weights":
            model = onnx.load(str(start))
            _weights_to_int8(model.graph)
            onnx.save(model, str(path))
        case "dynamic":
            start = _prepared(source, start, route)
            quantize_dynamic(str(start), str(path), weight_type=QuantType.QInt8, **_options(start, route))
        case "static":
            wide = route["activation_bits"] == 16
            quantize_static(
                str(start), str(path), _Reader(source),
                quant_format=QuantFormat.QDQ, calibrate_method=CalibrationMethod.MinMax, weight_type=QuantType.QInt8,
                activation_type=QuantType.QUInt16 if wide else QuantType.QUInt8, **_options(start, route),
            )  # fmt: skip
    model = onnx.load(str(path))
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    path.write_bytes(model.SerializeToString(deterministic=True))


def _prepared(source: _Source, start: Path, route: dict[str, Any]) -> Path:
    """The graph as the dynamic quantizer gets it."""
    model = onnx.load(str(start))
    fold_shapes(model.graph)
    if route["per_token"]:
        names = {value.name for value in model.graph.input}
        even_out(model.graph, channel_peaks(start, [_feed(ids, names) for ids in source.ranges]))
    path = source.scratch / "prepared.onnx"
    onnx.save(model, str(path))
    return path


def _options(start: Path, route: dict[str, Any]) -> dict[str, Any]:
    every = route["every_op"] or route["embedding"] == "tensor"
    excluded = _second_matrices(onnx.load(str(start)).graph) if route["keep_down"] else []
    return {
        "per_channel": route["per_channel"],
        "reduce_range": route["reduce_range"],
        "op_types_to_quantize": None if every else ["MatMul"],
        "nodes_to_exclude": excluded,
    }


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Texts one by one, as onnxruntime's calibration asks for them."""

    def __init__(self, source: _Source) -> None:
        names = {value.name for value in onnx.load(str(source.path), load_external_data=False).graph.input}
        self._items: Iterator[dict[str, Any]] = iter([_feed(ids, names) for ids in source.ranges])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._items, None)


def _matrices(graph: Any) -> Iterator[tuple[int, Any, Any]]:
    """Index, node and weights of each product with a constant matrix."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in reversed(list(enumerate(graph.node))):
        if node.op_type == "MatMul" and node.input[1] in constants:
            yield index, node, constants[node.input[1]]


def _second_matrices(graph: Any) -> list[str]:
    """Names of the products that go back from the feed-forward's width, which is the largest."""
    widest = max(tensor.dims[0] for _, _, tensor in _matrices(graph))
    return [node.name for _, node, tensor in _matrices(graph) if tensor.dims[0] == widest > tensor.dims[1]]


def _codes(values: Any, axis: int) -> tuple[Any, Any]:
    """int8 codes and float32 scales; `axis`: the one that shares a scale."""
    scales = (np.abs(values).max(axis=axis, keepdims=True) / 127).astype(np.float32)
    scales[scales == 0] = 1
    return np.clip(np.rint(values / scales), -127, 127).astype(np.int8), scales


def _weights_to_int8(graph: Any) -> None:
    """MatMul(x, W) -> MatMul(x, DequantizeLinear(codes, scale per output)), which onnxruntime fuses."""
    removed = set()
    for index, node, tensor in list(_matrices(graph)):
        name, wide = tensor.name, f"{node.name}_weights"
        if name not in removed:
            codes, scales = _codes(numpy_helper.to_array(tensor), 0)
            graph.initializer.extend(
                [numpy_helper.from_array(codes, f"{name}_q8"), numpy_helper.from_array(scales[0], f"{name}_scale")]
            )
            graph.initializer.remove(tensor)
            removed.add(name)
        given = [f"{name}_q8", f"{name}_scale"]
        graph.node.insert(index, helper.make_node("DequantizeLinear", given, [wide], f"{node.name}_dequantize", axis=1))
        node.input[1] = wide


def _tables_to_rows(graph: Any) -> None:
    """Gather(table, i) -> Cast(Gather(codes, i)) * Gather(scales, i)."""
    tables = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2}
    readers = [node for node in graph.node if any(name in tables for name in node.input)]
    for index, node in reversed(list(enumerate(graph.node))):
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.dims[0] * table.dims[1] < _SMALLEST_TABLE:
            continue
        if sum(table.name in other.input for other in readers) > 1:
            # Tied to something else, which still needs it as it is.
            continue
        codes, scales = _codes(numpy_helper.to_array(table), 1)
        name, out = table.name, node.output[0]
        graph.initializer.remove(table)
        graph.initializer.extend(
            [numpy_helper.from_array(codes, f"{name}_q8"), numpy_helper.from_array(scales, f"{name}_scale")]
        )
        graph.node.remove(node)
        for offset, (kind, given, made, more) in enumerate(
            [
                ("Gather", [f"{name}_q8", node.input[1]], f"{out}_q8", {}),
                ("Cast", [f"{out}_q8"], f"{out}_float", {"to": TensorProto.FLOAT}),
                ("Gather", [f"{name}_scale", node.input[1]], f"{out}_scale", {}),
                ("Mul", [f"{out}_float", f"{out}_scale"], out, {}),
            ]
        ):
            graph.node.insert(index + offset, helper.make_node(kind, given, [made], f"{node.name}_{offset}", **more))


def _feed(ids: Sequence[int], names: Any) -> dict[str, Any]:
    row = np.array([ids], np.int64)
    given = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
    return {name: value for name, value in given.items() if name in names}


def _vectors(path: Path, texts: Sequence[Sequence[int]], request: dict[str, Any]) -> tuple[Any, float]:
    """One vector of length 1 for each text, and the CPU seconds it took."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(request["threads"])
    # Threads that spin while they wait cost time that no text needed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    rows = []
    started = time.process_time()
    for ids in texts:
        (hidden,) = session.run([_OUTPUT], _feed(ids, names))
        row = (hidden[0].mean(axis=0) if request["pooling"] == "mean" else hidden[0, 0]).astype(np.float64)
        rows.append(row / max(np.linalg.norm(row), 1e-30))
    return np.stack(rows), time.process_time() - started


def _agreement(reference: Any, vectors: Any) -> dict[str, Any]:
    if not np.isfinite(vectors).all():
        return {"failed": "vectors that are not finite"}
    cosines = (reference * vectors).sum(axis=1)
    return {"mean_cosine": float(cosines.mean()), "min_cosine": float(cosines.min())}
