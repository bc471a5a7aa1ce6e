"""One request to a language model, from its first token to its last.

Rule: a client that has left gets no more work done.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from .generation_request import GenerationRequest
from .refusals import RefusedError

# Each question goes through Triton and takes 0.1 ms.
_ASK_EVERY_S = 0.02


@dataclass
class Answer:
    """What was generated so far. `tool_calls`: as OpenAI's API spells them, by index."""

    texts: list[str] = field(default_factory=list)
    tool_calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish_reason: str = ""
    prompt_tokens: int = 0
    generated_tokens: int = 0

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)

    @property
    def tool_calls_json(self) -> str:
        """The tool calls as a JSON list."""
        return json.dumps([call for _, call in sorted(self.tool_calls.items())], ensure_ascii=False)

    def add(self, event: dict[str, Any]) -> str:
        """Takes one event of llama.cpp's stream in and returns its text, which may be empty."""
        if usage := event.get("usage"):
            self.prompt_tokens, self.generated_tokens = usage["prompt_tokens"], usage["completion_tokens"]
        if progress := event.get("prompt_progress"):
            self.prompt_tokens = progress["total"]
        if not event.get("choices"):
            return ""
        choice = event["choices"][0]
        self.finish_reason = choice["finish_reason"] or self.finish_reason
        delta = choice.get("delta", {})
        for call in delta.get("tool_calls") or ():
            self._add_tool_call(call)
        text = str(choice.get("text") or delta.get("content") or "")
        if text or delta.get("tool_calls"):
            self.texts.append(text)
            self.generated_tokens += 1
        return text

    def _add_tool_call(self, part: dict[str, Any]) -> None:
        call = self.tool_calls.setdefault(
            part["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = part.get("id") or call["id"]
        for key, text in part.get("function", {}).items():
            call["function"][key] += text


class Client(Protocol):
    """Who asked."""

    def is_gone(self) -> bool: ...

    def send_text(self, text: str) -> None: ...


class Runtime(Protocol):
    """What generates: `llama.Llama`."""

    def stream(self, body: Any, on_event: Callable[[dict[str, Any]], bool], *, is_chat: bool) -> None: ...


def generate(runtime: Runtime, request: GenerationRequest, client: Client, answer: Answer) -> None:
    """Fills `answer`, and sends its pieces to `client` if it wants a stream.

    Raises RefusedError when the request is refused or the client has left.
    """
    asked = time.monotonic()

    def on_event(event: dict[str, Any]) -> bool:
        nonlocal asked
        text = answer.add(event)
        if text and request.stream:
            client.send_text(text)
        now = time.monotonic()
        if now - asked < _ASK_EVERY_S:
            return False
        asked = now
        return client.is_gone()

    runtime.stream(request.body, on_event, is_chat=request.is_chat)
    if not answer.finish_reason:
        raise RefusedError("the client has left", "CANCELLED")
