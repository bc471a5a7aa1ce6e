"""Whether a chat template is jinja at all, before a build spends time on its model.

Rule: the template is only parsed, never run.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from edgec.errors import Diagnostic, Span


class _Generation(Extension):
    """`{% generation %}` of Hugging Face templates, which marks the assistant's part for training."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it as a plain class attribute)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


_JINJA = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])


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
        said = (error.message or "syntax error").rstrip(".")
        return [Diagnostic(f"the chat template is not valid jinja: {said[:1].lower()}{said[1:]}", "fix this line", at)]
    return []
