"""Tokenizes and embeds texts natively: with Hugging Face `tokenizers`, and an ONNX file in onnxruntime.

Runs in the toolchain `optimum`, by edgec.toolchain; imports nothing of edgec.

Request: `model` (an ONNX file), `tokenizer` (a tokenizer.json), `corpus` (texts to tokenize), `texts` (to embed as
well), `context` (tokens), `pooling`, `threads`.
Answer: `ids` (of the corpus, then of the texts), `vectors` (of length 1), `per_s` (texts in a second), `runtime`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    ids = _tokenized(request)
    texts = ids[len(request["corpus"]) :]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(request["threads"])
    session = onnxruntime.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    # A first text takes longer.
    _vector(session, names, texts[0], request["pooling"])
    began = time.perf_counter()
    vectors = []
    for done, text in enumerate(texts):
        vectors.append(_vector(session, names, text, request["pooling"]))
        progress(done + 1, len(texts), "texts", "native onnxruntime")
    seconds = time.perf_counter() - began
    return {
        "ids": ids,
        "vectors": [vector.tolist() for vector in vectors],
        "per_s": len(vectors) / seconds,
        "runtime": f"onnxruntime {onnxruntime.__version__}",
    }


def _tokenized(request: dict[str, Any]) -> list[list[int]]:
    """With special tokens; a longer text loses its end, but not its last token."""
    tokenizer = Tokenizer.from_file(request["tokenizer"])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    found = [tokenizer.encode(text).ids for text in (*request["corpus"], *request["texts"])]
    context = request["context"]
    return [ids if len(ids) <= context else [*ids[: context - 1], ids[-1]] for ids in found]


def _vector(session: Any, names: list[str], ids: list[int], pooling: str) -> Any:
    row = np.array([ids], np.int64)
    given = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
    hidden = session.run(["last_hidden_state"], {name: given[name] for name in names})[0][0].astype(np.float64)
    vector = hidden[0] if pooling == "cls" else hidden.mean(axis=0)
    return vector / np.linalg.norm(vector)
