"""The Triton model: the engine's token ids to text.

Rule: each answer stands for itself: Triton keeps nothing between the answers of a stream, so that a character which two
tokens share comes out as a replacement character when they are sent apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """`output_ids` (1, 1, n) and `sequence_length` (1, 1) to `text_output` and `completion_tokens`, (1, 1) each."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the tokenizer."""
        path = Path(args["model_repository"], args["model_version"], "tokenizer.json")
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        ids = pb_utils.get_input_tensor_by_name(request, "output_ids").as_numpy().reshape(-1)
        length = int(pb_utils.get_input_tensor_by_name(request, "sequence_length").as_numpy().reshape(-1)[0])
        text = self._tokenizer.decode(ids[:length].tolist(), skip_special_tokens=True)
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("text_output", np.array([[text.encode()]], dtype=np.object_)),
                pb_utils.Tensor("completion_tokens", np.array([[length]], dtype=np.int32)),
            ]
        )
