"""An ONNX encoder in onnxruntime, on token ids: one row for each text, a vector or a score.

Rule: a row is what the model's own pooling makes of the graph's only output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

HIDDEN, SCORES = "last_hidden_state", "logits"


class EncoderSession:
    """A file and how its output is pooled: `mean`, `cls`, or `score` of a pair."""

    def __init__(self, path: Path, pooling: str, pad_id: int, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that spin while they wait cost time that no text needed.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._pooling, self._pad_id = pooling, pad_id
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def rows(self, texts: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The rows of texts in one batch, shorter ones padded; a text is `ids` and `types`."""
        output = SCORES if self._pooling == "score" else HIDDEN
        (found,) = self._session.run([output], self.feed(texts))
        return [self._pooled(row, len(text["ids"])) for row, text in zip(found, texts, strict=True)]

    def feed(self, texts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the graph takes of them."""
        longest = max(len(text["ids"]) for text in texts)
        ids = np.full((len(texts), longest), self._pad_id, np.int64)
        mask, types = np.zeros_like(ids), np.zeros_like(ids)
        for row, text in enumerate(texts):
            tokens = len(text["ids"])
            ids[row, :tokens], types[row, :tokens], mask[row, :tokens] = text["ids"], text["types"], 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        return {name: given[name] for name in self.inputs}

    def _pooled(self, row: Any, tokens: int) -> Any:
        if self._pooling == "score":
            return row
        return row[0] if self._pooling == "cls" else row[:tokens].mean(axis=0)
