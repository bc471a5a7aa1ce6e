"""An answer of a chat model as it grows: its text, its thoughts, its tool calls, its end.

Rule: thoughts that a server keeps apart (`reasoning_content`) are shown as Dify shows them, between `<think>` tags.
"""

from dataclasses import dataclass, field
from typing import Any

from openai_server.connection import Json

_THINK, _THOUGHT = "<think>\n", "\n</think>"


@dataclass
class ToolCall:
    """A call of a tool. `arguments`: JSON, as text."""

    id: str
    name: str = ""
    arguments: str = ""


@dataclass
class Answer:
    """What has come so far. `finish_reason`: None while more may come; `usage`: the server's own counts."""

    text: str = ""
    finish_reason: str | None = None
    usage: Json = field(default_factory=dict)
    tool_calls: dict[int, ToolCall] = field(default_factory=dict)
    _thinks: bool = False

    def grow(self, payload: Json) -> str:
        """Takes one object of a stream in, or a whole answer, and returns the text that it adds."""
        if isinstance(payload.get("usage"), dict):
            self.usage = payload["usage"]
        choices = payload.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        message = choice.get("delta") or choice.get("message") or {}
        for position, call in enumerate(message.get("tool_calls") or []):
            self._call(call, position)
        text = message.get("content") or choice.get("text") or ""
        shown = self._shown(message.get("reasoning_content") or "", text)
        self.text += shown
        return shown

    def close(self) -> str:
        """The text that ends the answer: a model that was cut off in its thoughts leaves them open."""
        return self._end_thoughts() if self._thinks else ""

    def _shown(self, thoughts: str, text: str) -> str:
        shown = ""
        if thoughts and not self._thinks:
            shown, self._thinks = _THINK, True
        shown += thoughts
        if text and self._thinks:
            shown += self._end_thoughts()
        return shown + text

    def _end_thoughts(self) -> str:
        self._thinks = False
        return _THOUGHT

    def _call(self, delta: dict[str, Any], position: int) -> None:
        """Adds to the call at its index: its id and name come first, its arguments in pieces."""
        index = delta.get("index", position)
        call = self.tool_calls.setdefault(index, ToolCall(id=f"call_{index}"))
        function = delta.get("function") or {}
        call.id = delta.get("id") or call.id
        call.name += function.get("name") or ""
        call.arguments += function.get("arguments") or ""
