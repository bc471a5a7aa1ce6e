"""The Triton model: prompts or chat messages to the token ids, lengths and stop words that the engine takes.

Rule: what the engine was not built for is refused here, before it takes a place on the GPU: an empty prompt, one longer
than the engine's input, one that leaves no room for its answer. A client's mistake is never a server's error.
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

Ids = npt.NDArray[np.int32]


class TritonPythonModel:
    """One prompt per request, as (1, 1)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the tokenizer and the chat template, if the model has one."""
        parameters = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        self._context, self._max_input = int(parameters["context"]), int(parameters["max_input"])
        self._max_tokens = int(parameters["max_tokens"])
        self._end, self._pad = int(parameters["end_id"]), int(parameters["pad_id"])
        folder = Path(args["model_repository"], args["model_version"])
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        # Half a prompt has another meaning, and a longer one too.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template = _template(folder)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            ids = self._ids(request)
            wanted = int(_given(request, "max_tokens", [self._max_tokens])[0])
            self._require_room(len(ids), wanted)
            stop = [text.decode() for text in _given(request, "stop", [])]
        except ValueError as error:
            message = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=message)
        values = {
            "input_ids": [ids],
            "input_lengths": [[len(ids)]],
            "request_output_len": [[wanted]],
            "stop_words_list": [self._word_list(stop)],
            "end_id": [[self._end]],
            "pad_id": [[self._pad]],
        }
        tensors = [pb_utils.Tensor(name, np.array(value, dtype=np.int32)) for name, value in values.items()]
        return pb_utils.InferenceResponse(tensors)

    def _require_room(self, tokens: int, wanted: int) -> None:
        if tokens == 0:
            raise ValueError("the prompt is empty")
        if tokens > self._max_input:
            raise ValueError(f"the prompt has {tokens} tokens; the engine was built for {self._max_input} at most")
        if wanted < 1:
            raise ValueError(f"`max_tokens` is {wanted}; it must be at least 1")
        if tokens + wanted > self._context:
            raise ValueError(f"{tokens} tokens and {wanted} new ones; the engine holds {self._context}")

    def _ids(self, request: Any) -> list[int]:
        text, messages = _given(request, "text_input", []), _given(request, "messages", [])
        if len(text) + len(messages) != 1:
            raise ValueError("give exactly one of `text_input` and `messages`")
        if len(text) == 1 and not text[0]:
            raise ValueError("`text_input` is empty")
        if len(text) == 1:
            return list(self._tokenizer.encode(text[0].decode()).ids)
        if self._template is None:
            raise ValueError("the model has no chat template: give `text_input`")
        prompt = self._template.prompt(messages[0].decode())
        # The template writes the special tokens itself.
        return list(self._tokenizer.encode(prompt, add_special_tokens=False).ids)

    def _word_list(self, words: Sequence[str]) -> Ids:
        """Ids of all words in a row, and below them where each word ends; -1 beyond the last. Shape (2, n)."""
        encoded = [self._tokenizer.encode(word, add_special_tokens=False).ids for word in words if word]
        ids = [token for word in encoded for token in word] or [0]
        ends = np.cumsum([len(word) for word in encoded]).tolist()
        return np.array([ids, ends + [-1] * (len(ids) - len(ends))], dtype=np.int32)


def _given(request: Any, name: str, default: Sequence[Any]) -> Sequence[Any]:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return default if tensor is None else list(tensor.as_numpy().ravel())


def _template(folder: Path) -> Any:
    if not (folder / "chat_template.jinja").is_file():
        return None
    from .chat import open_template  # noqa: PLC0415  # jinja2 is needed by models with a template only

    return open_template(folder)
