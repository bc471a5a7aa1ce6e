"""What a client asks a language model, checked, and as llama.cpp's server takes it.

Rule: what is wrong is said with the input's name; nothing is silently corrected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .json_schema import check_json_schema
from .refusals import RefusedError

_ROLES = ("system", "developer", "user", "assistant", "tool")
_MESSAGE_KEYS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
# Input name -> llama.cpp's name, lowest and highest value. The lowest of top_p is open: 0 would allow no token at all.
_RANGES: Mapping[str, tuple[str, float, float]] = {
    "max_tokens": ("max_tokens", 1, math.inf),
    "temperature": ("temperature", 0, 100),
    "top_p": ("top_p", 1e-6, 1),
    "top_k": ("top_k", 0, math.inf),
    "min_p": ("min_p", 0, 1),
    "repeat_penalty": ("repeat_penalty", 1e-6, 100),
    "presence_penalty": ("presence_penalty", -2, 2),
    "frequency_penalty": ("frequency_penalty", -2, 2),
}
# llama.cpp keeps 32 bits of it; the last value means "any".
_MAX_SEED = 2**32 - 2
_ONLY_WITH_MESSAGES = ("tools", "tool_choice")


@dataclass(frozen=True)
class GenerationRequest:
    """`body`: llama.cpp's request. `is_chat`: it holds messages, not a prompt. `stream`: one response per token."""

    body: Mapping[str, Any]
    is_chat: bool
    stream: bool


def generation_request(
    inputs: Mapping[str, Any], default_max_tokens: int, *, takes_tools: bool = True
) -> GenerationRequest:
    """The request of the given inputs: name to text, number or list of texts. Raises RefusedError.

    `takes_tools`: whether the chat template shows tools to the model.
    """
    is_chat = "messages" in inputs
    if is_chat == ("text_input" in inputs):
        raise RefusedError("give either `text_input` (a prompt, taken as it is) or `messages` (chat)")
    if is_chat and not takes_tools and (given := [name for name in _ONLY_WITH_MESSAGES if name in inputs]):
        raise RefusedError(f"`{given[0]}`: this model's chat template shows it no tools; use `json_schema` instead")
    body: dict[str, Any] = {
        "max_tokens": default_max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        # Reports during a long prompt are the moments at which its client may be found gone.
        "return_progress": True,
    }
    body |= _chat(inputs) if is_chat else _prompt(inputs)
    body |= {llama: _number(inputs, name, *limits) for name, (llama, *limits) in _RANGES.items() if name in inputs}
    if "seed" in inputs:
        body["seed"] = int(_number(inputs, "seed", 0, _MAX_SEED))
    if "stop" in inputs:
        body["stop"] = _stop(inputs["stop"])
    return GenerationRequest(body, is_chat, bool(inputs.get("stream", False)))


def _prompt(inputs: Mapping[str, Any]) -> dict[str, Any]:
    for name in _ONLY_WITH_MESSAGES:
        if name in inputs:
            raise RefusedError(f"`{name}` needs `messages`")
    if not inputs["text_input"]:
        raise RefusedError("`text_input` is empty")
    body = {"prompt": inputs["text_input"]}
    if "json_schema" in inputs:
        body["json_schema"] = _json_schema(inputs)
    return body


def _chat(inputs: Mapping[str, Any]) -> dict[str, Any]:
    # Whatever the model thinks aloud stays in the text: there is one output for both.
    body: dict[str, Any] = {"messages": _messages(inputs), "reasoning_format": "none"}
    if "json_schema" in inputs:
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": _json_schema(inputs)}}
    if "tools" in inputs:
        body["tools"] = _tools(inputs)
    if "tool_choice" in inputs:
        body["tool_choice"] = _tool_choice(inputs)
    return body


def _messages(inputs: Mapping[str, Any]) -> list[Any]:
    messages: list[Any] = _json(inputs, "messages", list)
    if not messages:
        raise RefusedError("`messages` is empty")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            raise RefusedError(f"message {number} is no JSON object")
        if unknown := sorted(message.keys() - _MESSAGE_KEYS):
            raise RefusedError(f"message {number}: unknown key `{unknown[0]}`")
        if message.get("role") not in _ROLES:
            raise RefusedError(f"message {number}: `role` is not one of {', '.join(_ROLES)}")
        if not isinstance(message.get("content"), str) and "tool_calls" not in message:
            raise RefusedError(f"message {number}: `content` is not a text")
    return messages


def _json_schema(inputs: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = _json(inputs, "json_schema", dict)
    check_json_schema(schema)
    return schema


def _tools(inputs: Mapping[str, Any]) -> list[Any]:
    tools: list[Any] = _json(inputs, "tools", list)
    for number, tool in enumerate(tools, 1):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise RefusedError(f"tool {number}: not an object with a `function` object that has a `name`")
    return tools


def _tool_choice(inputs: Mapping[str, Any]) -> str:
    choice = str(inputs["tool_choice"])
    if choice not in ("auto", "none", "required"):
        raise RefusedError(f"`tool_choice` is {choice!r}, not one of auto, none, required")
    return choice


def _stop(texts: list[str]) -> list[str]:
    if not all(texts):
        raise RefusedError("`stop` holds an empty text")
    return texts


def _json(inputs: Mapping[str, Any], name: str, kind: type) -> Any:
    try:
        value = json.loads(inputs[name])
    except ValueError as error:
        raise RefusedError(f"`{name}` is not JSON: {error}") from error
    except RecursionError:
        raise RefusedError(f"`{name}` is nested too deeply") from None
    if not isinstance(value, kind):
        raise RefusedError(f"`{name}` is no JSON {'list' if kind is list else 'object'}")
    return value


def _number(inputs: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value: float = inputs[name]
    # NaN compares as false with everything.
    if not low <= value <= high:
        span = f"at least {_text(low)}" if high == math.inf else f"from {_text(low)} to {_text(high)}"
        raise RefusedError(f"`{name}` is {_text(value)}; it must be {span}")
    return value


def _text(number: float) -> str:
    """Integers with all their digits."""
    return str(number) if isinstance(number, int) else f"{number:g}"
