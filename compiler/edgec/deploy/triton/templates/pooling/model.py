"""The Triton model: the vectors of a text's tokens to one, by the model's pooling; padding never counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

Vectors = npt.NDArray[np.float32]
Mask = npt.NDArray[np.int64]


def _mean(hidden: Vectors, mask: Mask) -> Vectors:
    weights = mask[:, :, None].astype(np.float32)
    mean: Vectors = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return mean


def _cls(hidden: Vectors, mask: Mask) -> Vectors:
    first: Vectors = hidden[np.arange(len(hidden)), mask.argmax(axis=1)]
    return first


def _last(hidden: Vectors, mask: Mask) -> Vectors:
    ends = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    last: Vectors = hidden[np.arange(len(hidden)), ends]
    return last


_POOLINGS: Mapping[str, Callable[[Vectors, Mask], Vectors]] = {"mean": _mean, "cls": _cls, "last": _last}


class TritonPythonModel:
    """`last_hidden_state` (batch, tokens, width) and `attention_mask` to `embedding` (batch, width)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the pooling from config.pbtxt."""
        parameters = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        self._pool = _POOLINGS[parameters["pooling"]]
        self._is_normalized = parameters["normalize"] == "true"

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        hidden = pb_utils.get_input_tensor_by_name(request, "last_hidden_state").as_numpy().astype(np.float32)
        mask = pb_utils.get_input_tensor_by_name(request, "attention_mask").as_numpy()
        vectors = self._pool(hidden, mask)
        if self._is_normalized:
            # A text of which nothing is left has a vector of zeros, not of NaN.
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))
        return pb_utils.InferenceResponse([pb_utils.Tensor("embedding", vectors.astype(np.float32, copy=False))])
