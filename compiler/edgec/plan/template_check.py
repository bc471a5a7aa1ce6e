"""Whether a chat template works, before a build spends time on its model.

Rule: a recipe is checked by parsing its template only; planning also renders it, in jinja's sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jinja2 import TemplateSyntaxError

from edgec.errors import Diagnostic, InputError, Span
from edgec.prove.chat_template import PROMPTS, render_chat, special_token_texts, template_environment

_JINJA = template_environment()


def template_mistake(path: Path, span: Span | None) -> list[Diagnostic]:
    """The one mistake that stops jinja in the template, at its own line; `span`: where the recipe names the file."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return [Diagnostic("the chat template is not UTF-8", "save it as UTF-8", span)]
    except OSError as error:
        return [Diagnostic(f"the chat template cannot be read: {error.strerror}", "check its permissions", span)]
    if not text.strip():
        return [Diagnostic("the chat template is empty", "write a jinja template, or remove the line", span)]
    try:
        _JINJA.parse(text)
    except TemplateSyntaxError as error:
        lines = text.splitlines()
        row = min(max(error.lineno, 1), len(lines))
        line = lines[row - 1].rstrip()
        begin = len(line) - len(line.lstrip())
        at = Span(str(path), row, begin + 1, max(1, len(line) - begin), line)
        return [Diagnostic(f"the chat template is not valid jinja: {_said(error)}", "fix this line", at)]
    return []


def _said(error: TemplateSyntaxError) -> str:
    """jinja2's words, to stand within a sentence."""
    said = (error.message or "syntax error").rstrip(".")
    return f"{said[:1].lower()}{said[1:]}"


def require_working_template(template: str, files: Mapping[str, bytes], place: str | None) -> None:
    """Raises InputError unless the template makes a prompt of one question, as the proof and every chat ask of it.

    `files`: the checkpoint's small files; `place`: the file that the template stands in.
    """
    hint = "write a working template to a file and name it in the recipe: `tokenizer: {chat_template: chat.jinja}`"
    try:
        _JINJA.parse(template)
    except TemplateSyntaxError as error:
        message = f"the chat template is not valid jinja (its line {error.lineno}): {_said(error)}"
        raise InputError.of(message, hint=hint, place=place) from error
    try:
        prompt = render_chat(template, [{"role": "user", "content": PROMPTS[0]}], special_token_texts(files))
    except InputError as error:
        raise InputError.of(error.diagnostics[0].message, hint=hint, place=place) from error
    if not prompt.strip():
        raise InputError.of("the chat template renders nothing for a conversation", hint=hint, place=place)
