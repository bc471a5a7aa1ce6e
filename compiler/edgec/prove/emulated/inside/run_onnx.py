"""Runs an ONNX model on given inputs. Started twice with the same request: natively, and in qemu.

Runs in the toolchain `emulation` and in the emulated root, by edgec.toolchain; imports nothing of edgec.

Request: `model`, `kind`, `texts` (each `ids`, `types`) or `samples` (a file: see draw_samples.py) and `inputs` (their
names), `single_tokens`,
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
        arrays = _outputs(session, list(_samples(request)), progress)
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
        arrays = [np.stack(rows)]
    with open(request["out"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, *arrays)
    return {
        "ids": [text["ids"] for text in texts],
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "features": "",
        "machine": platform.machine(),
    }


def _outputs(session: Any, samples: list[dict[str, _Array]], progress: Callable[..., None]) -> list[_Array]:
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
