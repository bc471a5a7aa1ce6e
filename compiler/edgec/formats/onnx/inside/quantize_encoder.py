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
from encoder_session import EncoderSession
from graph_file import has_weights_beside, read, size_bytes, strip, write
from integer_products import channel_peaks, even_out
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from simpler_graph import simplify
from weights import matrices_to_int4, matrices_to_int8, second_matrices, tables_to_rows

_SHOWN_CHARS = 200
_TABLE_BITS = {"row": 8, "block": 4}


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`model`: the float32 file; `scratch`: a folder, where candidates are left as `<name>/<file>`; `routes`; `beside`:
    whether their weights go into a file of their own; `for_browser`: see simpler_graph.py; `ranges`, `judged`: lists of
    texts (`ids`, `types`); `pooling`, `pad_id`, `threads`.

    Answers `candidates`: name, size, agreement with the float32 model on `judged` and its share of time, or why it
    failed.
    """
    os.umask(0o022)
    scratch = Path(request["scratch"])
    # Tools leave files where they run.
    os.chdir(scratch)
    source = _Source(Path(request["model"]), scratch, request)
    judged = request["judged"]
    reference, reference_s = _rows(source.path, judged, request) if judged else (None, 0.0)
    found = []
    for done, route in enumerate(request["routes"]):
        progress(done, len(request["routes"]), "routes", route["title"])
        path = scratch / route["name"] / request["file"]
        path.parent.mkdir()
        try:
            _make(source, route, path)
            rows, seconds = _rows(path, judged or request["ranges"][:1] or [{"ids": [0, 1], "types": [0, 0]}], request)
        except Exception as error:  # whatever a quantizer raises, the other routes go on
            found.append({"name": route["name"], "failed": f"{type(error).__name__}: {error}"[:_SHOWN_CHARS]})
            continue
        entry = {"name": route["name"], "size_bytes": size_bytes(path)}
        if reference is not None:
            entry |= _agreement(reference, rows, request["pooling"]) | {"time_share": seconds / reference_s}
        found.append(entry)
    return {
        "candidates": found,
        "versions": {m.__name__: m.__version__ for m in (onnx, onnxruntime, np)},
    }


class _Source:
    """The float32 graph, as it is and as routes begin with it."""

    def __init__(self, path: Path, scratch: Path, request: dict[str, Any]) -> None:
        self.path = path
        self.request = request
        self._scratch = scratch
        self._beside = has_weights_beside(read(path))

    def start(self, route: dict[str, Any]) -> Path:
        """The graph with the route's kind of tables (`tensor`: left to onnxruntime), without what only costs time.

        As it is for onnxruntime's default, which shows what others get, and where weights still lie beside the graph,
        when taking factors into them would take all into memory.
        """
        kind, plain = route["embedding"], route["every_op"]
        if kind not in _TABLE_BITS and (plain or self._beside):
            return self.path
        made = self._scratch / f"{kind}s.onnx"
        if not made.exists():
            model = read(self.path)
            if kind in _TABLE_BITS:
                tables_to_rows(model, self.path.parent, _TABLE_BITS[kind])
            write(model, self.path.parent, made, beside=self.request["beside"])
            # Smaller tables may have brought the weights into the graph.
            model = read(made)
            if not has_weights_beside(model):
                simplify(model.graph, for_browser=self.request["for_browser"])
                write(model, made.parent, made, beside=False)
        return made


def _make(source: _Source, route: dict[str, Any], path: Path) -> None:
    start, beside = source.start(route), source.request["beside"]
    if route["method"] in ("weights", "blocks"):
        model, folder = read(start), start.parent
        if route["method"] == "weights":
            matrices_to_int8(model.graph, folder)
        else:
            matrices_to_int4(model, folder, keep_attention=route["keep_attention"])
    else:
        made = path.with_name("quantized.onnx")
        _quantize(source, start, route, made)
        model, folder = read(made), made.parent
    strip(model)
    write(model, folder, path, beside=beside)


def _quantize(source: _Source, start: Path, route: dict[str, Any], made: Path) -> None:
    """By onnxruntime's own quantizer."""
    every = route["every_op"] or route["embedding"] == "tensor"
    options = {
        "per_channel": route["per_channel"],
        "reduce_range": route["reduce_range"],
        "op_types_to_quantize": None if every else ["MatMul"],
        "nodes_to_exclude": second_matrices(read(start).graph) if route["keep_down"] else [],
        "use_external_data_format": source.request["beside"],
    }
    if route["method"] == "dynamic":
        start = _evened(source, start, made.with_name("evened.onnx")) if route["evened"] else start
        quantize_dynamic(str(start), str(made), weight_type=QuantType.QInt8, **options)
        return
    wide = route["activation_bits"] == 16
    quantize_static(
        str(start), str(made), _Reader(source),
        quant_format=QuantFormat.QDQ, calibrate_method=CalibrationMethod.MinMax, weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt16 if wide else QuantType.QUInt8, **options,
    )  # fmt: skip


def _evened(source: _Source, start: Path, made: Path) -> Path:
    """The graph with channels and tokens of like size, by what the texts for ranges show."""
    model = read(start)
    if has_weights_beside(model):
        # What is done here takes every weight into memory at once.
        raise ValueError("not tried where weights lie beside the graph")
    session = _session(start, source.request)
    even_out(model.graph, channel_peaks(start, [session.feed([text]) for text in source.request["ranges"]]))
    write(model, start.parent, made, beside=False)
    return made


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Texts one by one, as onnxruntime's calibration asks for them."""

    def __init__(self, source: _Source) -> None:
        session = _session(source.path, source.request)
        self._items: Iterator[dict[str, Any]] = (session.feed([text]) for text in source.request["ranges"])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._items, None)


def _session(path: Path, request: dict[str, Any]) -> EncoderSession:
    return EncoderSession(path, request["pooling"], request["pad_id"], int(request["threads"]))


def _rows(path: Path, texts: Sequence[dict[str, Any]], request: dict[str, Any]) -> tuple[Any, float]:
    """One row for each text, and the CPU seconds it took."""
    session = _session(path, request)
    started = time.process_time()
    rows = [session.rows([text])[0].astype(np.float64) for text in texts]
    return np.stack(rows), time.process_time() - started


def _agreement(reference: Any, rows: Any, pooling: str) -> dict[str, Any]:
    if not np.isfinite(rows).all():
        return {"failed": "values that are not finite"}
    if pooling == "score":
        spread = float(reference.std())
        return {"score_error": float(np.sqrt(np.mean((rows - reference) ** 2))) / max(spread, 1e-30)}
    one, other = (each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-30) for each in (reference, rows))
    cosines = (one * other).sum(axis=1)
    return {"mean_cosine": float(cosines.mean()), "min_cosine": float(cosines.min())}
