"""The Triton model: `tokenizer.json` in its version folder, run by Hugging Face's tokenizers.

Rule: a text that is too long is refused and never cut: half a text has another meaning.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers
import triton_python_backend_utils as pb_utils

_FILE = "tokenizer.json"
_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


class TritonPythonModel:
    """`text_input` (batch, 1) to token ids and masks (batch, longest of the request)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the tokenizer."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        self._context = int(parameters["context"])
        self._outputs = [tensor["name"] for tensor in config["output"]]
        path = Path(args["model_repository"], args["model_version"], _FILE)
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.enable_padding(pad_id=int(parameters["pad_id"]))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        given = pb_utils.get_input_tensor_by_name(request, "text_input").as_numpy()
        try:
            texts = [text.decode() for text in given.reshape(-1)]
        except UnicodeDecodeError as error:
            return _refusal(f"`text_input` is not UTF-8: {error}")
        encoded = self._tokenizer.encode_batch(texts)
        longest = max(sum(one.attention_mask) for one in encoded)
        if longest > self._context:
            return _refusal(f"a text has {longest} tokens, the model takes {self._context} at most")
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, _rows(encoded, name)) for name in self._outputs])


def _rows(encoded: Sequence[tokenizers.Encoding], name: str) -> npt.NDArray[np.int64]:
    return np.array([getattr(one, _FIELDS[name]) for one in encoded], dtype=np.int64)


def _refusal(message: str) -> Any:
    error = pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG)
    return pb_utils.InferenceResponse(error=error)
