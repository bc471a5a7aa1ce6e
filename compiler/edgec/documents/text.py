"""A text file and the places in it.

Rule: a place is counted in lines and columns as an editor counts them, whatever the YAML reader counts: `\\n`, `\\r\\n`
and `\\r` end a line, nothing else does.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgec.documents.files import names_in
from edgec.errors import Diagnostic, InputError, Span

# A recipe has a few kilobytes; more is another kind of file given by mistake.
MAX_BYTES = 1 << 20
# What YAML 1.2 allows in a stream (section 5.1), negated.
_NOT_PRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class SourceText:
    """A text with the name it is shown under. `shown_prefix` precedes the first line in messages (`--set a.b=`)."""

    file: str
    text: str
    shown_prefix: str = ""

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(m.end() for m in _LINE_END.finditer(self.text))]

    def span(self, begin: int, end: int | None = None) -> Span:
        """The place of the characters `begin` to `end`, at most to the end of its line."""
        begin = min(begin, len(self.text))
        row = bisect_right(self._starts, begin) - 1
        start = self._starts[row]
        match = _LINE_END.search(self.text, start)
        stop = match.start() if match else len(self.text)
        prefix = self.shown_prefix if row == 0 else ""
        length = max(1, min(end if end is not None else begin + 1, stop) - begin)
        return Span(
            self.file, row + 1, len(prefix) + min(begin, stop) - start + 1, length, prefix + self.text[start:stop]
        )


def read_text(path: Path) -> SourceText:
    """The UTF-8 text of `path`. Raises InputError when it cannot be read or is no text."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:  # a NUL in the name
        raise InputError(Diagnostic("not a file name", "check the path", place=repr(str(path)))) from error
    if len(data) > MAX_BYTES:
        raise InputError(
            Diagnostic(f"larger than {MAX_BYTES >> 20} MiB", "give the YAML file, not a model", place=str(path))
        )
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(_not_utf8(path, data, error.start)) from error
    source = SourceText(str(path), text)
    check_printable(source)
    return source


def check_printable(source: SourceText) -> None:
    """Refuse control characters, which YAML forbids. Raises InputError."""
    match = _NOT_PRINTABLE.search(source.text)
    if match:
        span = source.span(match.start())
        shown = Span(span.file, span.line, span.column, 1, _NOT_PRINTABLE.sub("\ufffd", span.source_line))
        code = f"U+{ord(match.group()):04X}"
        raise InputError(Diagnostic(f"the character {code} is not allowed in YAML", "remove it", shown))


def _unreadable(path: Path, error: OSError) -> InputError:
    if isinstance(error, FileNotFoundError):
        others = [name for name in names_in(path.parent) if name.endswith((".yaml", ".yml"))]
        hint = f"`{path.parent}` has: {', '.join(others[:8])}" if others else "check the path"
        return InputError(Diagnostic("no such file", hint, place=str(path)))
    if isinstance(error, IsADirectoryError):
        return InputError(Diagnostic("is a folder, not a file", "name the YAML file in it", place=str(path)))
    reason = (error.strerror or type(error).__name__).lower()
    return InputError(Diagnostic(f"cannot be read: {reason}", "check the path and its permissions", place=str(path)))


def _not_utf8(path: Path, data: bytes, at: int) -> Diagnostic:
    start = max(data.rfind(b"\n", 0, at), data.rfind(b"\r", 0, at)) + 1
    line = data[start:].split(b"\n", 1)[0].split(b"\r", 1)[0]
    shown = _NOT_PRINTABLE.sub("\ufffd", line[:200].decode("utf-8", errors="replace"))
    column = len(data[start:at].decode("utf-8")) + 1
    row = len(_LINE_END.findall(data[:start].decode("utf-8"))) + 1
    span = Span(str(path), row, min(column, len(shown) + 1), 1, shown)
    return Diagnostic(f"the byte 0x{data[at]:02x} is not UTF-8", "save the file as UTF-8", span)
