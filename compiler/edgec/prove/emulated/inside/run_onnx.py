"""Runs an ONNX model on given inputs. Started twice with the same request: natively, and in qemu.

Runs in the toolchain `emulation` and in the emulated root, by edgec.toolchain; imports nothing of edgec but the proofs'
own sessions.

Request: `model`, `kind`, `texts` (each `ids`, `types`) or `samples` (a file: see draw_samples.py) and `inputs` (their
names), `single_tokens`, `head_width` (of a decoder), `threads`, `out` (a file with arrays of two dimensions, a row for
each text, token or sample).
Answer: `runtime`, `features` (empty: onnxruntime chooses its kernels at run time), `machine`.

Rows are, by kind: `encoder`: the mean hidden state of a text; `reranker`: its score; `decoder`: logits of each token,
of the first text once more token by token with the KV cache; `classifier` and `graph`: each output in an array of its
own.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# At the end: nothing beside these files comes before the standard library.
sys.path.append(str(Path(__file__).parents[2] / "onnx_decoder" / "inside"))
sys.path.append(str(Path(__file__).parents[3] / "formats" / "onnx" / "inside"))

import numpy as np
import onnxruntime
from cached_session import CachedSession
from encoder_session import EncoderSession

_Array = Any
# Of a text and its number: what it gives.
_RowsOf = Callable[[dict[str, Any], int], list[_Array]]


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    texts = request.get("texts", [])
    progress(0, 1, "texts", "opening the model")
    if "samples" in request:
        arrays = _outputs(request, progress)
    else:
        rows_of = _decoder(request) if request["kind"] == "decoder" else _pooled(request)
        rows: list[_Array] = []
        for done, text in enumerate(texts):
            progress(done, len(texts), "texts", f"{len(text['ids'])} tokens on {platform.machine()}")
            rows += rows_of(text, done)
        arrays = [np.stack(rows)]
    with open(request["out"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, *arrays)
    return {
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "features": "",
        "machine": platform.machine(),
    }


def _pooled(request: dict[str, Any]) -> _RowsOf:
    pooling = {"encoder": "mean", "reranker": "score"}[request["kind"]]
    # No text is padded.
    session = EncoderSession(Path(request["model"]), pooling, pad_id=0, threads=int(request["threads"]))
    return lambda text, _number: session.rows([text])


def _decoder(request: dict[str, Any]) -> _RowsOf:
    session = CachedSession(request["model"], int(request["threads"]), int(request["head_width"]))

    def rows_of(text: dict[str, Any], number: int) -> list[_Array]:
        found, cache = [*session.continued(text["ids"], 0)], None
        for token in text["ids"][: request["single_tokens"]] if number == 0 else []:
            rows, cache = session.step([token], cache)
            found += [*rows]
        return found

    return rows_of


def _outputs(request: dict[str, Any], progress: Callable[..., None]) -> list[_Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(request["threads"])
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
    samples = list(_samples(request))
    names = [value.name for value in session.get_outputs()]
    found: list[list[_Array]] = [[] for _ in names]
    for done, sample in enumerate(samples):
        progress(done, len(samples), "samples", f"on {platform.machine()}")
        for rows, values in zip(found, session.run(names, sample), strict=True):
            rows.append(np.asarray(values).reshape(-1))
    # Where an output's size depends on the data, rows have lengths of their own.
    widest = [max(map(len, rows)) for rows in found]
    return [
        np.stack([np.pad(row, (0, width - len(row))) for row in rows])
        for rows, width in zip(found, widest, strict=True)
    ]


def _samples(request: dict[str, Any]) -> Iterator[dict[str, _Array]]:
    with np.load(request["samples"], allow_pickle=False) as file:
        arrays = [file[f"arr_{place}"] for place in range(len(request["inputs"]))]
    for values in zip(*arrays, strict=True):
        yield dict(zip(request["inputs"], values, strict=True))
