"""The one family of errors edgec shows to people.

Rule: every expected failure is an `EdgecError` made of `Diagnostic`s, each with what is wrong, where, and a hint that
is something to do. Anything else that reaches the command line is a bug and exits 1.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

# A source line is shown up to this length, with so much of it before the place.
_SHOWN_CHARS = 160
_BEFORE = 60


class ExitCode(IntEnum):
    """Exit codes of the `edgec` command."""

    OK = 0
    BUG = 1
    INPUT = 2
    TOOL = 3
    PROOF = 4
    PUBLISH = 5
    INTERRUPTED = 130


@dataclass(frozen=True)
class Span:
    """A place in a text file. `line` and `column` count from 1; `length` is in characters, at least 1."""

    file: str
    line: int
    column: int
    length: int
    source_line: str

    def underlined(self) -> tuple[str, str]:
        """The source line, cut around the place if it is long, and the marks that stand below the place."""
        begin = self.column - 1
        first = max(0, begin - _BEFORE) if len(self.source_line) > _SHOWN_CHARS else 0
        last = first + _SHOWN_CHARS
        before, marked = self.source_line[first:begin], self.source_line[begin : min(begin + self.length, last)]
        dots = "..." if first else ""
        shown = f"{dots}{self.source_line[first:last]}{'...' if last < len(self.source_line) else ''}"
        indent = "".join(c if c == "\t" else " " * _columns(c) for c in before)
        return shown, f"{' ' * len(dots)}{indent}{'^' * max(1, sum(map(_columns, marked)))}"


def _columns(character: str) -> int:
    """How many columns of a terminal a character takes: 2 for wide ones, 0 for what joins the one before it."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: what is wrong, where it stands, the offending value and a hint to act on."""

    message: str
    hint: str | None = None
    span: Span | None = None
    # Shown instead of a span when the mistake is in a binary file or a folder: "model.safetensors: tensor 'x'".
    place: str | None = None

    def render(self) -> str:
        """The text shown to people: `file:line:col: error: what`, the source line underlined, `hint:`."""
        lines: list[str] = []
        if self.span is not None:
            s = self.span
            number = str(s.line)
            gutter = " " * len(number)
            shown, underline = s.underlined()
            lines.append(f"{s.file}:{s.line}:{s.column}: error: {self.message}")
            lines.append(f" {number} | {shown}")
            lines.append(f" {gutter} | {underline}")
        elif self.place is not None:
            lines.append(f"{self.place}: error: {self.message}")
        else:
            lines.append(f"error: {self.message}")
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same as a JSON object, for `--json`."""
        out: dict[str, object] = {"message": self.message}
        if self.hint:
            out["hint"] = self.hint
        if self.span is not None:
            s = self.span
            out.update(file=s.file, line=s.line, column=s.column, length=s.length, source_line=s.source_line)
        if self.place is not None:
            out["place"] = self.place
        return out


class EdgecError(Exception):
    """An expected failure. Carries one or more diagnostics and the exit code of its family."""

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, *diagnostics: Diagnostic, data: Mapping[str, object] | None = None) -> None:
        if not diagnostics:
            raise ValueError("an EdgecError needs at least one diagnostic")
        self.diagnostics = diagnostics
        # What was found besides, good things too: more keys of the error that `--json` shows.
        self.data: Mapping[str, object] = data or {}
        super().__init__("\n\n".join(d.render() for d in diagnostics))

    @classmethod
    def of(cls, message: str, *, hint: str | None = None, place: str | None = None) -> Self:
        """An error with a single diagnostic that has no span."""
        return cls(Diagnostic(message=message, hint=hint, place=place))


class InputError(EdgecError):
    """The recipe, the model, a key or another input is wrong: exit 2."""

    exit_code = ExitCode.INPUT


class ToolError(EdgecError):
    """A tool or the machine failed (a crash, a full disk, no network): exit 3."""

    exit_code = ExitCode.TOOL


class ProofError(EdgecError):
    """An artifact or a bundle did not pass its proof or verification: exit 4."""

    exit_code = ExitCode.PROOF


class PublishError(EdgecError):
    """Publishing or a device failed: exit 5."""

    exit_code = ExitCode.PUBLISH


class DeviceError(EdgecError):
    """This device is not the one a bundle is for, or could not finish it: exit 5."""

    exit_code = ExitCode.PUBLISH
