"""One config.pbtxt: its text, parsed by Triton's definition, and where each field stands.

Rule: strict. An unknown field, a wrong type or a placeholder that nobody replaced is an error at its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format

from edgec.deploy.triton.lint.places import Path, field_places
from edgec.deploy.triton.lint.schema import model_config_class
from edgec.errors import Diagnostic, InputError, Span

# `${...}` of the scripts that fill in examples, `{{ ... }}` of jinja2.
_PLACEHOLDER = re.compile(r"\$\{[^}\n]*\}?|\{\{[^}\n]*(?:\}\})?")
_POSITION = re.compile(r"^\d+:\d+ : ")


@dataclass(frozen=True)
class Finding:
    """What is wrong at `at`: names of fields and numbers of repeated ones, as far as they exist."""

    at: Path
    message: str
    hint: str


@dataclass(frozen=True)
class ConfigFile:
    """A parsed config.pbtxt. `folder`: the name of the folder it stands in; `data`: an `inference.ModelConfig`."""

    file: str
    folder: str
    data: Any
    places: Mapping[Path, Span]

    @property
    def name(self) -> str:
        """The model's name: Triton takes the folder's where the configuration has none."""
        return self.data.name or self.folder

    def diagnostic(self, finding: Finding) -> Diagnostic:
        """`finding` at its line; at the file where nothing of its path is written."""
        path = _numbered(finding.at)
        for end in range(len(path), 0, -2):
            if path[:end] in self.places:
                return Diagnostic(finding.message, finding.hint, self.places[path[:end]])
        return Diagnostic(finding.message, finding.hint, place=self.file)


def _numbered(path: Path) -> Path:
    """`path` with a 0 after each name that has no number."""
    numbered: list[str | int] = []
    for number, step in enumerate(path):
        numbered.append(step)
        is_last = number + 1 == len(path)
        if isinstance(step, str) and (is_last or isinstance(path[number + 1], str)):
            numbered.append(0)
    return tuple(numbered)


def parse_config(content: bytes, file: str, folder: str) -> ConfigFile:
    """The configuration in `content`. `file` and `folder` are for messages. Raises InputError with every place."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        hint = "save the file as UTF-8"
        raise InputError.of(f"not UTF-8 at byte {error.start}", hint=hint, place=file) from error
    placeholders = list(_placeholders(text, file))
    if placeholders:
        raise InputError(*placeholders)
    data = model_config_class()()
    try:
        text_format.Parse(text, data)
    except text_format.ParseError as error:
        raise InputError(_syntax_mistake(error, text, file)) from error
    return ConfigFile(file, folder, data, field_places(text, file))


def _placeholders(text: str, file: str) -> list[Diagnostic]:
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.lstrip().startswith("#"):
            continue
        for match in _PLACEHOLDER.finditer(line):
            span = Span(file, number, match.start() + 1, len(match.group()), line)
            hint = "put the value here, or let the script that fills in this file run"
            found.append(Diagnostic(f"`{match.group()}` is a placeholder that nobody filled in", hint, span))
    return found


def _syntax_mistake(error: text_format.ParseError, text: str, file: str) -> Diagnostic:
    message = _POSITION.sub("", str(error))
    hint = "the fields and their types are in Triton's model_config.proto"
    line, column = error.GetLine(), error.GetColumn()
    lines = text.split("\n")
    if line is None or not 0 < line <= len(lines):
        return Diagnostic(message, hint, place=file)
    return Diagnostic(message, hint, Span(file, line, column or 1, 1, lines[line - 1]))
