"""The Triton model: prompts or chat messages to the token ids, lengths and stop words that the engine takes.

Rule: a prompt that leaves no room for an answer is refused here, before it takes a place on the GPU.
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
        self._context, self._max_tokens = int(parameters["context"]), int(parameters["max_tokens"])
        self._end, self._pad = int(parameters["end_id"]), int(parameters["pad_id"])
        folder = Path(args["model_repository"], args["model_version"])
        self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._template = _template(folder / "chat_template.jinja")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        try:
            ids = self._ids(request)
            wanted = int(_given(request, "max_tokens", [self._max_tokens])[0])
            if wanted < 1 or len(ids) + wanted > self._context:
                raise ValueError(f"{len(ids)} tokens and {wanted} new ones; the engine holds {self._context}")
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

    def _ids(self, request: Any) -> list[int]:
        text, messages = _given(request, "text_input", []), _given(request, "messages", [])
        if len(text) + len(messages) != 1:
            raise ValueError("give exactly one of `text_input` and `messages`")
        if len(text) == 1:
            return list(self._tokenizer.encode(text[0].decode()).ids)
        if self._template is None:
            raise ValueError("the model has no chat template: give `text_input`")
        prompt = self._template.render(messages=json.loads(messages[0]), add_generation_prompt=True)
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


def _template(path: Path) -> Any:
    if not path.is_file():
        return None
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415  # needed by models with a template only

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(path.read_text(encoding="utf-8"))
