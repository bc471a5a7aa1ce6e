"""Runs an ONNX model on given inputs. Started twice with the same request: natively, and in qemu.

Runs in the toolchain `emulation` and in the emulated root, by edgec.toolchain; imports nothing of edgec.

Request: `model`, `kind`, `texts` (each `ids`, `types`) or `samples` (a file: see draw_samples.py), `single_tokens`,
`head_width` (of a decoder), `threads`, `out` (a file with arrays of two dimensions, a row for each text, token or
sample).
Answer: `ids`, `runtime`, `features` (empty: onnxruntime chooses its kernels at run time), `machine`.

Rows are, by kind: `encoder`: the mean hidden state of a text; `reranker`: its score; `decoder`: logits of each token,
of the first text once more token by token with the KV cache; `classifier` and `graph`: each output in an array of its
own.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnxruntime

_PAST, _PRESENT = "past_key_values.", "present."
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_Array = Any


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(request["threads"])
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    progress(0, 1, "texts", "opening the model")
    session = onnxruntime.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
    texts = request.get("texts", [])
    if request["kind"] in ("classifier", "graph"):
        arrays = _outputs(session, request["samples"], progress)
    else:
        rows = []
        for done, text in enumerate(texts):
            progress(done, len(texts), "texts", f"{len(text['ids'])} tokens on {platform.machine()}")
            if request["kind"] == "decoder":
                rows += _decoder(
                    session, text["ids"], request["single_tokens"] if done == 0 else 0, request["head_width"]
                )
            else:
                rows.append(_POOLED[request["kind"]](session.run(None, _given(session, text))[0][0]))
        arrays = {"rows": np.stack(rows)}
    with open(request["out"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, **arrays)
    return {
        "ids": [text["ids"] for text in texts],
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "features": "",
        "machine": platform.machine(),
    }


def _outputs(session: Any, path: str, progress: Callable[..., None]) -> dict[str, _Array]:
    names = [value.name for value in session.get_outputs()]
    found: dict[str, list[_Array]] = {name: [] for name in names}
    samples = list(_samples(path))
    for done, sample in enumerate(samples):
        progress(done, len(samples), "samples", f"on {platform.machine()}")
        for name, values in zip(names, session.run(names, sample), strict=True):
            found[name].append(np.asarray(values).reshape(-1))
    # An output whose size depends on the data has rows of its own lengths: they are compared where both have one.
    widest = {name: max(map(len, rows)) for name, rows in found.items()}
    return {name: np.stack([np.pad(row, (0, widest[name] - len(row))) for row in rows]) for name, rows in found.items()}


def _samples(path: str) -> Iterator[dict[str, _Array]]:
    with np.load(path, allow_pickle=False) as arrays:
        values = dict(arrays)
    for number in range(len(next(iter(values.values())))):
        yield {name: rows[number] for name, rows in values.items()}


def _given(session: Any, text: dict[str, Any]) -> dict[str, _Array]:
    ids = np.array([text["ids"]], np.int64)
    given = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.array([text["types"]], np.int64),
    }
    return {value.name: given[value.name] for value in session.get_inputs()}


def _decoder(session: Any, ids: list[int], single: int, head_width: int) -> list[_Array]:
    # Batch and tokens of a KV cache are open; the number of heads is in the graph.
    empty = {
        value.name: np.zeros((1, value.shape[1], 0, head_width), _TYPES[value.type])
        for value in session.get_inputs()
        if value.name.startswith(_PAST)
    }
    found = [*_step(session, ids, empty, 0)[0]]
    past = empty
    for place, token in enumerate(ids[:single]):
        rows, past = _step(session, [token], past, place)
        found += [*rows]
    return found


def _step(session: Any, ids: list[int], past: dict[str, _Array], before: int) -> tuple[_Array, dict[str, _Array]]:
    """Logits of the tokens, and the KV cache with them."""
    tokens = np.array([ids], np.int64)
    total = before + len(ids)
    given = {
        "input_ids": tokens,
        "attention_mask": np.ones((1, total), np.int64),
        "position_ids": np.arange(before, total, dtype=np.int64)[None],
        **past,
    }
    names = [value.name for value in session.get_outputs()]
    feed = {value.name: given[value.name] for value in session.get_inputs()}
    made = dict(zip(names, session.run(names, feed), strict=True))
    cache = {_PAST + name.removeprefix(_PRESENT): made[name] for name in names if name.startswith(_PRESENT)}
    return made["logits"][0].astype(np.float32), cache


_POOLED: dict[str, Callable[[_Array], _Array]] = {
    "encoder": lambda hidden: hidden.mean(axis=0),
    "reranker": lambda scores: scores.reshape(-1),
}
