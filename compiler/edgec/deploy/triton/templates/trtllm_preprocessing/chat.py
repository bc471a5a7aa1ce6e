"""Chat messages, checked, and the prompt that the model's chat template makes of them.

Rule: whatever a client sends, and whatever the template makes of it, is a prompt or a ValueError that says why not.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

_ROLES = ("system", "developer", "user", "assistant", "tool")
_KEYS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
# A template is a program: what it can raise beside jinja2's own errors.
_FAULTS = (
    jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what an assistant wrote, for training; for a prompt it changes nothing."""

    tags = {"generation"}  # noqa: RUF012  # jinja2's own declaration

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """The block's content, without the marks."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class ChatTemplate:
    """A chat template, rendered as transformers does. `special_texts`: bos_token and the like, which it may write."""

    def __init__(self, source: str, special_texts: Mapping[str, str]) -> None:
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _strftime_now}
        self._template = environment.from_string(source)
        self._special_texts = dict(special_texts)

    def prompt(self, text: str) -> str:
        """The prompt of `messages`, a JSON text, ready for the assistant's turn. Raises ValueError."""
        messages = _messages(text)
        try:
            prompt = self._template.render(
                messages=messages, tools=None, documents=None, add_generation_prompt=True, **self._special_texts
            )
            # JSON can hold halves of characters, which no text has and no tokenizer takes.
            prompt.encode()
        except _FAULTS as error:
            raise ValueError(f"the chat template takes no such `messages`: {error}") from error
        return prompt


def open_template(folder: Path) -> ChatTemplate:
    """The chat template of a version folder."""
    special_texts = json.loads((folder / "special_texts.json").read_bytes())
    return ChatTemplate((folder / "chat_template.jinja").read_text(encoding="utf-8"), special_texts)


def _messages(text: str) -> list[dict[str, Any]]:
    try:
        messages = json.loads(text)
    except ValueError as error:
        raise ValueError(f"`messages` is not JSON: {error}") from error
    except RecursionError:
        raise ValueError("`messages` is nested too deeply") from None
    if not isinstance(messages, list):
        raise ValueError("`messages` is no JSON list")
    if not messages:
        raise ValueError("`messages` is empty")
    for number, message in enumerate(messages, 1):
        _check(message, number)
    return messages


def _check(message: Any, number: int) -> None:
    if not isinstance(message, dict):
        raise ValueError(f"message {number} is no JSON object")
    if unknown := sorted(message.keys() - _KEYS):
        raise ValueError(f"message {number}: unknown key `{unknown[0]}`")
    if message.get("role") not in _ROLES:
        raise ValueError(f"message {number}: `role` is not one of {', '.join(_ROLES)}")
    if not isinstance(message.get("content"), str) and "tool_calls" not in message:
        raise ValueError(f"message {number}: `content` is not a text")


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def _strftime_now(form: str) -> str:
    # The operator's own date, as transformers writes it.
    return datetime.datetime.now().strftime(form)
