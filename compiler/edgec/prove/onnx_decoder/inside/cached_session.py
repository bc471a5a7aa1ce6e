"""An ONNX decoder in onnxruntime, with its KV cache handed from run to run.

Runs in the toolchain. Rule: every input is bound by its name; one that is not known is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from checkpoint_folder import RefusedError

_KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_PAST, _PRESENT = "past_key_values.", "present."
_GIVEN = {"input_ids", "attention_mask", "position_ids"}

Cache = dict[str, Any]


class CachedSession:
    """One model. Its cache is what it gave as `present.*`, by the names of the inputs."""

    def __init__(self, path: str, threads: int, head_width: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RefusedError("candidate", f"onnxruntime does not load it: {error}") from error
        inputs = self._session.get_inputs()
        self._names = {value.name for value in inputs}
        strange = sorted(n for n in self._names - _GIVEN if not n.startswith(_PAST))
        if strange:
            raise RefusedError("candidate", f"it takes {', '.join(strange)}, which nothing gives")
        past = [value for value in inputs if value.name.startswith(_PAST)]
        self._caches = [value.name for value in past]
        # The width of a head is a name in some graphs, and an empty cache needs the number.
        self._empty = {v.name: np.zeros((1, v.shape[1], 0, head_width), _KINDS[v.type]) for v in past}
        self._outputs = ["logits", *(name.replace(_PAST, _PRESENT) for name in self._caches)]

    def continued(self, ids: Sequence[int], first: int) -> torch.Tensor:
        """Logits from token `first` on, (tokens, vocabulary); what stands before it comes from the KV cache."""
        cache = self._run(ids[:first], None)[1] if first else None
        return self._run(ids[first:], cache)[0]

    def greedy(self, prompt: Sequence[int], new_tokens: int, ends: frozenset[int]) -> tuple[list[int], torch.Tensor]:
        """The most likely continuation, one token at a time, up to an end token; and the logits of each."""
        logits, cache = self._run(prompt, None)
        ids, rows = [], [logits[-1].clone()]
        while True:
            ids.append(int(rows[-1].argmax()))
            if len(ids) == new_tokens or ids[-1] in ends:
                return ids, torch.stack(rows)
            logits, cache = self._run(ids[-1:], cache)
            rows.append(logits[-1].clone())

    def _run(self, ids: Sequence[int], cache: Cache | None) -> tuple[torch.Tensor, Cache]:
        past = 0 if cache is None else cache[self._caches[0]].shape[2]
        given: dict[str, Any] = {
            "input_ids": np.asarray([ids], np.int64),
            "attention_mask": np.ones((1, past + len(ids)), np.int64),
            "position_ids": np.arange(past, past + len(ids), dtype=np.int64)[None],
        }
        given = {name: value for name, value in given.items() if name in self._names}
        given |= self._empty if cache is None else cache
        logits, *present = self._session.run(self._outputs, given)
        return torch.from_numpy(logits[0].astype(np.float32)), dict(zip(self._caches, present, strict=True))
