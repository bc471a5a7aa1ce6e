"""Runs in the toolchain `rknn`: a float32 ONNX graph to one .rknn file, simulated before it is written.

Rule: the simulator runs what this process has built, for it cannot load a file again; a file whose model was not run
here is never left.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from rknn.api import RKNN

# Below every score that a model computes: what exporters put where padding is.
_LOWEST = -1e30
_REPORTED = 8


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`model`: the float32 file; `scratch`: a folder; `out`, `vectors`: files to write; `platform`; `length`: tokens of
    every input; `route`; `ranges`, `judged`, `proven`: lists of token ids; `pooling`; `pad_id`; `threads`.

    Answers sizes, cosines to the float32 graph on `judged` (with padding), and versions; `vectors` gets those of
    `proven`.
    """
    os.umask(0o022)
    # The toolkit leaves files where it runs.
    os.chdir(request["scratch"])
    names = _prepare(Path(request["model"]), request["route"]["mask"])
    progress(0, 3, "steps", "compiling for the NPU")
    toolkit = RKNN(verbose=False)
    _compiled(toolkit, request, names)
    progress(1, 3, "steps", "simulating")
    _succeeded(toolkit.init_runtime(), "init_runtime")
    texts = [*request["judged"], *request["proven"]]
    rows = []
    for done, ids in enumerate(texts):
        rows.append(_simulated(toolkit, request, names, ids))
        if done % _REPORTED == 0:
            progress(done, len(texts), "texts", "simulating")
    vectors = np.stack(rows)
    judged = len(request["judged"])
    answer = _agreement(_in_float32(request, names), vectors[:judged]) if judged else {}
    progress(2, 3, "steps", "writing the model")
    _succeeded(toolkit.export_rknn(request["out"]), "export_rknn")
    toolkit.release()
    with open(request["vectors"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, artifact=vectors[judged:])
    names_of = ("rknn-toolkit2", "onnx", "onnxruntime", "numpy", "torch")
    return {**answer, "versions": {name: version(name) for name in names_of}}


def _prepare(path: Path, mask: float) -> list[str]:
    """Writes `fixed.onnx`: no number beyond the NPU's, no reduction that its toolkit's fuser may die of."""
    model = onnx.load(str(path))
    for tensor in _constants(model.graph):
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size and values.min() < _LOWEST:
            changed = np.where(values < _LOWEST, np.float32(mask), values)
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    keep_dimensions(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, "fixed.onnx")
    return [value.name for value in model.graph.input]


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


def _compiled(toolkit: Any, request: dict[str, Any], names: Sequence[str]) -> None:
    route = request["route"]
    mixed = route["mixed_cosine"] is not None
    settings: dict[str, Any] = {"target_platform": request["platform"]}
    if route["dtype"] == "w8a8":
        settings |= {"quantized_dtype": "w8a8", "quantized_algorithm": route["algorithm"]}
    if mixed:
        settings["auto_hybrid_cos_thresh"] = route["mixed_cosine"]
    _succeeded(toolkit.config(**settings), "config")
    shape = [1, request["length"]]
    loaded = toolkit.load_onnx(model="fixed.onnx", inputs=list(names), input_size_list=[shape] * len(names))
    _succeeded(loaded, "load_onnx")
    if route["dtype"] == "w8a8":
        dataset = _dataset(request, names)
        _succeeded(toolkit.build(do_quantization=True, dataset=dataset, auto_hybrid=mixed), "build")
    else:
        _succeeded(toolkit.build(do_quantization=False), "build")


def _dataset(request: dict[str, Any], names: Sequence[str]) -> str:
    """The calibration texts as the toolkit reads them: one line of files each, relative to the list."""
    lines = []
    for number, ids in enumerate(request["ranges"]):
        files = [f"{number}-{index}.npy" for index in range(len(names))]
        for file, values in zip(files, _feed(request, names, ids), strict=True):
            np.save(file, values)
        lines.append(" ".join(files))
    Path("dataset.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return "dataset.txt"


def _succeeded(code: Any, what: str) -> None:
    if code != 0:
        raise SystemExit(f"rknn-toolkit2: {what} answered {code}")


def _feed(request: dict[str, Any], names: Sequence[str], ids: Sequence[int]) -> list[Any]:
    row = np.full((1, request["length"]), request["pad_id"], np.int64)
    mask = np.zeros_like(row)
    row[0, : len(ids)] = ids
    mask[0, : len(ids)] = 1
    given = {"input_ids": row, "attention_mask": mask, "token_type_ids": np.zeros_like(row)}
    return [given[name] for name in names]


def _simulated(toolkit: Any, request: dict[str, Any], names: Sequence[str], ids: Sequence[int]) -> Any:
    outputs = toolkit.inference(inputs=_feed(request, names, ids))
    if not outputs or outputs[0] is None:
        raise SystemExit("rknn-toolkit2: the simulator gave no output")
    hidden = np.asarray(outputs[0], np.float32)
    return _pooled(hidden.reshape(request["length"], -1), len(ids), request["pooling"])


def _in_float32(request: dict[str, Any], names: Sequence[str]) -> Any:
    """The float32 graph as it came, on the same padded texts, each with the unpadded pooling."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(request["threads"])
    session = onnxruntime.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
    rows = []
    for ids in request["judged"]:
        given = dict(zip(names, _feed(request, names, ids), strict=True))
        rows.append(_pooled(session.run(None, given)[0][0], len(ids), request["pooling"]))
    return np.stack(rows)


def _pooled(hidden: Any, tokens: int, pooling: str) -> Any:
    return hidden[0] if pooling == "cls" else hidden[:tokens].mean(axis=0)


def _agreement(reference: Any, vectors: Any) -> dict[str, float]:
    a, b = reference.astype(np.float64), vectors.astype(np.float64)
    if not np.isfinite(b).all():
        raise SystemExit("rknn-toolkit2: the simulator gave values that are not finite")
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1) / np.maximum(lengths, 1e-30)
    return {"mean_cosine": float(cosines.mean()), "min_cosine": float(cosines.min())}
