"""Chat templates, rendered as transformers does, and the texts that they are tried on.

Rule: jinja2 in its sandbox, with the same filters and a fixed date, so that the same model gives the same text on every
day; no runtime is needed here.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from edgec.errors import InputError

PROMPTS = (
    "What is the capital of France?",
    "Write a short note about the sea.",
    "How do I list the files of a folder in Python?",
)
# What the chat template is compared on: one turn, and a conversation with quotes, markup and other scripts.
CONVERSATIONS: tuple[tuple[dict[str, str], ...], ...] = (
    ({"role": "user", "content": PROMPTS[0]},),
    (
        {"role": "user", "content": 'Say "<b>é</b>" & nothing else.'},
        {"role": "assistant", "content": "你好 {{ x }}"},
        {"role": "user", "content": "Thanks!\n\n  Again?"},
    ),
)
# Templates that ask for the date get this one.
_DATE = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
# A template is a program: what it can raise beside jinja2's own errors.
_TEMPLATE_FAULTS = (jinja2.TemplateError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError)
_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what an assistant wrote, for training; for a prompt it changes nothing."""

    tags = {"generation"}  # noqa: RUF012  # jinja2's own declaration

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """The block's content, without the marks."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def template_environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """jinja2 set up to read a chat template as transformers does; what a template may call is added to render it."""
    return jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    tokens: Mapping[str, str],
    now: datetime.datetime = _DATE,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """The prompt text for `messages` (role, content), ready for the assistant's turn. `tokens`: bos_token and the like.

    `tools`: functions the model may call, as OpenAI's API describes them.
    Raises InputError when the template is wrong or refuses the messages.
    """
    environment = template_environment()
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = now.strftime
    try:
        return environment.from_string(template).render(
            messages=messages, tools=tools, documents=None, add_generation_prompt=True, **tokens
        )
    except _TEMPLATE_FAULTS as error:
        raise InputError.of(
            f"the chat template cannot be rendered: {error}",
            hint="give a working template: artifacts[].tokenizer.chat_template",
        ) from error


def special_token_texts(files: Mapping[str, bytes]) -> dict[str, str]:
    """The texts of bos_token, eos_token and the like, from tokenizer_config.json and special_tokens_map.json."""
    texts: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        entries: Any = json.loads(files.get(file, b"{}"))
        for name in _TOKEN_NAMES:
            value = entries.get(name)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                texts[name] = text
    return texts


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
