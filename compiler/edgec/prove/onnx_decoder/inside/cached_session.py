"""An ONNX decoder in onnxruntime, with its KV cache handed from run to run.

Runs in the toolchains `genai` and `emulation`; needs numpy and onnxruntime alone. Rule: every input is bound by its
name; one that is not known is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

_KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_PAST, _PRESENT = "past_key_values.", "present."
_GIVEN = {"input_ids", "attention_mask", "position_ids"}

Cache = dict[str, Any]


class CachedSession:
    """One model. Its cache is what it gave as `present.*`, by the names of the inputs.

    `head_width`: elements of a head. Raises ValueError: onnxruntime does not load it, or it takes what nothing gives.
    """

    def __init__(self, path: str, threads: int, head_width: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that spin while they wait cost time that no token needed.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ValueError(f"onnxruntime does not load it: {error}") from error
        inputs = self._session.get_inputs()
        self._names = {value.name for value in inputs}
        strange = sorted(n for n in self._names - _GIVEN if not n.startswith(_PAST))
        if strange:
            raise ValueError(f"it takes {', '.join(strange)}, which nothing gives")
        past = [value for value in inputs if value.name.startswith(_PAST)]
        self._caches = [value.name for value in past]
        # The width of a head is a name in some graphs, and an empty cache needs the number.
        self._empty = {v.name: np.zeros((1, v.shape[1], 0, head_width), _KINDS[v.type]) for v in past}
        self._outputs = ["logits", *(name.replace(_PAST, _PRESENT) for name in self._caches)]

    def continued(self, ids: Sequence[int], first: int) -> Any:
        """Logits from token `first` on, (tokens, vocabulary); what stands before it comes from the KV cache."""
        cache = self.step(ids[:first], None)[1] if first else None
        return self.step(ids[first:], cache)[0]

    def greedy(self, prompt: Sequence[int], new_tokens: int, ends: frozenset[int]) -> tuple[list[int], Any]:
        """The most likely continuation, one token at a time, up to an end token; and the logits of each."""
        logits, cache = self.step(prompt, None)
        ids, rows = [], [logits[-1].copy()]
        while True:
            ids.append(int(rows[-1].argmax()))
            if len(ids) == new_tokens or ids[-1] in ends:
                return ids, np.stack(rows)
            logits, cache = self.step(ids[-1:], cache)
            rows.append(logits[-1].copy())

    def step(self, ids: Sequence[int], cache: Cache | None) -> tuple[Any, Cache]:
        """Logits of tokens, (tokens, vocabulary), after those in the cache (None: none), and the cache with them."""
        past = 0 if cache is None else cache[self._caches[0]].shape[2]
        given: dict[str, Any] = {
            "input_ids": np.asarray([ids], np.int64),
            "attention_mask": np.ones((1, past + len(ids)), np.int64),
            "position_ids": np.arange(past, past + len(ids), dtype=np.int64)[None],
        }
        given = {name: value for name, value in given.items() if name in self._names}
        given |= self._empty if cache is None else cache
        logits, *present = self._session.run(self._outputs, given)
        return logits[0].astype(np.float32), dict(zip(self._caches, present, strict=True))
