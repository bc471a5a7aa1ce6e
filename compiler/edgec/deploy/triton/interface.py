"""What a client sees: the tensors of a model's kind, by the same names and types on every target and backend.

Rule: a name here is a promise to clients; one may be added, none changes its meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DataType = Literal["STRING", "BOOL", "INT32", "INT64", "UINT32", "UINT64", "FP16", "FP32"]


@dataclass(frozen=True)
class Tensor:
    """A tensor of a model. `dims` are without the batch dimension; -1 is any size. STRING is BYTES on the wire."""

    name: str
    data_type: DataType
    dims: tuple[int, ...] = (1,)
    optional: bool = False


def _optional(name: str, data_type: DataType, dims: tuple[int, ...] = (1,)) -> Tensor:
    return Tensor(name, data_type, dims, optional=True)


# Exactly one of `text_input` (a prompt, taken as it is) and `messages` (chat, through the model's template) is given.
SAMPLING_INPUTS = (
    _optional("max_tokens", "INT32"),
    _optional("temperature", "FP32"),
    _optional("top_p", "FP32"),
    _optional("top_k", "INT32"),
    _optional("min_p", "FP32"),
    _optional("repeat_penalty", "FP32"),
    _optional("presence_penalty", "FP32"),
    _optional("frequency_penalty", "FP32"),
    _optional("seed", "UINT64"),
    _optional("stop", "STRING", (-1,)),
    _optional("stream", "BOOL"),
)
GENERATION_INPUTS = (
    _optional("text_input", "STRING"),
    # JSON texts: a list of chat messages, a schema the answer must match, a list of tools.
    _optional("messages", "STRING"),
    *SAMPLING_INPUTS,
    _optional("json_schema", "STRING"),
    _optional("tools", "STRING"),
    _optional("tool_choice", "STRING"),
)
# Streamed answers send `text_output` piece by piece; the last response has the finish reason and both counts.
GENERATION_OUTPUTS = (
    Tensor("text_output", "STRING"),
    # JSON text: the list of tool calls, as OpenAI's API spells it; `[]` without one.
    Tensor("tool_calls", "STRING"),
    # `stop`, `length` or `tool_calls`; empty in every response but the last.
    Tensor("finish_reason", "STRING"),
    Tensor("prompt_tokens", "INT32"),
    Tensor("completion_tokens", "INT32"),
)

EMBEDDING_INPUTS = (Tensor("text_input", "STRING"),)

RERANK_INPUTS = (Tensor("query", "STRING"), Tensor("documents", "STRING", (-1,)))
RERANK_OUTPUTS = (Tensor("scores", "FP32", (-1,)),)


def embedding_outputs(dimension: int) -> tuple[Tensor, ...]:
    """The outputs of an embedding model whose vectors have `dimension` elements."""
    return (Tensor("embedding", "FP32", (dimension,)),)
