"""Embeds texts with a checkpoint in torch, and tokenizes a corpus as transformers does.

Runs in a toolchain with torch, by edgec.toolchain; imports nothing of edgec but the scripts that make the ONNX file.

Request: `checkpoint` (a folder), `model_class`, `numbers` (see torch_model), `texts` (`ids` and `types`), `pooling`,
`threads`, `corpus` (texts), `out` (a file for the rows: `source`, one for each text).
Answer: `plain` and `complete` (token ids of the corpus without and with special tokens), `seconds` (CPU time),
`versions`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# At the end: nothing beside these files comes before the standard library.
sys.path.append(str(Path(__file__).parents[3] / "formats" / "onnx" / "inside"))

import numpy as np
import torch
import transformers
from torch_model import load

# Texts between two reports of progress.
_STEP = 8


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    os.umask(0o022)
    torch.set_num_threads(int(request["threads"]))
    texts = request["texts"]
    model = load(request)
    started = time.process_time()
    rows = []
    for done, text in enumerate(texts):
        if done % _STEP == 0:
            progress(done, len(texts), "texts", "torch")
        rows.append(_row(model, text, request["pooling"]))
    seconds = time.process_time() - started
    with Path(request["out"]).open("wb") as file:
        np.savez(file, source=np.stack(rows))
    return {
        **_tokenized(request["checkpoint"], request["corpus"]),
        "seconds": seconds,
        "versions": {m.__name__: m.__version__ for m in (torch, transformers)},
    }


def _row(model: Any, text: dict[str, Any], pooling: str) -> Any:
    ids = torch.tensor([text["ids"]])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if any(text["types"]):
        given["token_type_ids"] = torch.tensor([text["types"]])
    with torch.inference_mode():
        output = model(**given)
    if pooling == "score":
        return output["logits"][0].numpy()
    hidden = output["last_hidden_state"][0].numpy()
    return hidden[0] if pooling == "cls" else hidden.mean(axis=0)


def _tokenized(folder: str, corpus: Sequence[str]) -> dict[str, Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return {
        "plain": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in corpus],
        "complete": [tokenizer(text, add_special_tokens=True)["input_ids"] for text in corpus],
    }
