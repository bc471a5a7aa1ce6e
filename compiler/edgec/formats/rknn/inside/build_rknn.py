"""Runs in the toolchain `rknn`: a float32 ONNX graph to one .rknn file, simulated before it is written.

Rule: the simulator runs what this process has built, for it cannot load a file again; a file whose model was not run
here is never left.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy as np
from rknn.api import RKNN
from toolkit_steps import compiled, in_onnxruntime, prepare, succeeded, versions

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
    names = prepare(Path(request["model"]), request["route"]["mask"])
    progress(0, 3, "steps", "compiling for the NPU")
    toolkit = RKNN(verbose=False)
    shapes = {name: [1, request["length"]] for name in names}
    calibration = [dict(zip(names, _feed(request, names, ids), strict=True)) for ids in request["ranges"]]
    compiled(toolkit, request["route"], request["platform"], shapes, calibration)
    progress(1, 3, "steps", "simulating")
    succeeded(toolkit.init_runtime(), "init_runtime")
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
    succeeded(toolkit.export_rknn(request["out"]), "export_rknn")
    toolkit.release()
    with open(request["vectors"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, artifact=vectors[judged:])
    return {**answer, "versions": versions()}


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
    session = in_onnxruntime(request["model"], int(request["threads"]))
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
