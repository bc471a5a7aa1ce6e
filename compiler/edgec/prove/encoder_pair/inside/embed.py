"""Embeds texts with a checkpoint in torch and with an ONNX file in onnxruntime, and tokenizes a corpus.

Runs in the toolchain `optimum`, by edgec.toolchain; imports nothing of edgec.

Request: `checkpoint` (a folder), `model` (an ONNX file, or null: the source alone), `texts` (lists of token ids),
`pooling`, `pad_id`, `threads`, `corpus` (texts), `out` (a file for the embeddings: `source`, `artifact`, `padded`, one
row for each text).
Answer: `inputs`, `outputs`, `plain` and `complete` (token ids of the corpus without and with special tokens),
`seconds` (CPU time of both), `versions`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers

_OUTPUT = "last_hidden_state"
# Texts of one batch with padding, and lines between two reports of progress.
_BATCH = 8


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    os.umask(0o022)
    torch.set_num_threads(int(request["threads"]))
    texts, pooling = request["texts"], request["pooling"]
    batches = [texts[i : i + _BATCH] for i in range(0, len(texts), _BATCH)]
    steps = _Steps(progress, len(texts) if request["model"] is None else 2 * len(texts) + len(batches))
    started = time.process_time()
    source = [_pooled(hidden[0], len(ids), pooling) for ids, hidden in _in_torch(request["checkpoint"], texts, steps)]
    answer = {
        **_tokenized(request["checkpoint"], request["corpus"]),
        "seconds": {"torch": time.process_time() - started},
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, onnxruntime)},
    }
    arrays: dict[str, Any] = {"source": np.stack(source)}
    if request["model"] is not None:
        arrays |= _in_onnxruntime(request, batches, steps, answer)
    with open(request["out"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, **arrays)
    return answer


def _in_onnxruntime(
    request: dict[str, Any], batches: Sequence[Any], steps: _Steps, answer: dict[str, Any]
) -> dict[str, Any]:
    """The artifact's vectors, of single texts and of batches; what else is found goes into `answer`."""
    pooling = request["pooling"]
    session = _session(request)
    names = [value.name for value in session.get_inputs()]
    started = time.process_time()
    artifact = []
    for ids in request["texts"]:
        artifact.append(_pooled(_run(session, names, [ids], request["pad_id"])[0], len(ids), pooling))
        steps.one("onnxruntime")
    answer["seconds"]["onnxruntime"] = time.process_time() - started
    padded = []
    for batch in batches:
        hidden = _run(session, names, batch, request["pad_id"])
        padded += [_pooled(row, len(ids), pooling) for row, ids in zip(hidden, batch, strict=True)]
        steps.one("onnxruntime, padded")
    answer |= {"inputs": names, "outputs": [value.name for value in session.get_outputs()]}
    return {"artifact": np.stack(artifact), "padded": np.stack(padded)}


class _Steps:
    """Counts what is done, for people."""

    def __init__(self, progress: Callable[..., None], total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def one(self, what: str) -> None:
        self._done += 1
        if self._done % _BATCH == 0:
            self._progress(self._done, self._total, "texts", what)


def _in_torch(folder: str, texts: Sequence[list[int]], steps: _Steps) -> Any:
    model = transformers.AutoModel.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    ).eval()
    with torch.inference_mode():
        for ids in texts:
            row = torch.tensor([ids])
            yield ids, model(input_ids=row, attention_mask=torch.ones_like(row))[_OUTPUT].numpy()
            steps.one("torch")


def _session(request: dict[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(request["threads"])
    # Threads that spin while they wait cost time that no text needed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])


def _run(session: Any, names: Sequence[str], texts: Sequence[list[int]], pad_id: int) -> Any:
    longest = max(len(ids) for ids in texts)
    rows = np.full((len(texts), longest), pad_id, np.int64)
    mask = np.zeros_like(rows)
    for row, ids in enumerate(texts):
        rows[row, : len(ids)] = ids
        mask[row, : len(ids)] = 1
    given = {"input_ids": rows, "attention_mask": mask, "token_type_ids": np.zeros_like(rows)}
    return session.run([_OUTPUT], {name: given[name] for name in names})[0]


def _pooled(hidden: Any, tokens: int, pooling: str) -> Any:
    return hidden[0] if pooling == "cls" else hidden[:tokens].mean(axis=0)


def _tokenized(folder: str, corpus: Sequence[str]) -> dict[str, Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return {
        "plain": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in corpus],
        "complete": [tokenizer(text, add_special_tokens=True)["input_ids"] for text in corpus],
    }
