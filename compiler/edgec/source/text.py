"""Calibration and held-out texts. Rule: UTF-8 or a mistake with its line and column; never a guess."""

from __future__ import annotations

import codecs
from pathlib import Path

from edgec.errors import Diagnostic, InputError, Span


def read_text(path: Path, what: str) -> str:
    """The text of `path`. `what` names it in messages ("calibration text"). Raises InputError."""
    try:
        # Some editors begin a UTF-8 file with a mark, which is not part of the text.
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise InputError.of(
            f"the {what} cannot be read: {error.strerror}",
            hint="check the path; it is relative to the recipe",
            place=str(path),
        ) from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(_not_utf8(data, error.start, path, what)) from error
    if not text.strip():
        raise InputError.of(
            f"the {what} is empty",
            hint="give a text file of a few hundred kilobytes like the model's use",
            place=str(path),
        )
    return text


def wrong_byte(path: Path) -> str | None:
    """The first byte that is not UTF-8 and its place, for people: `byte 0xe9 in its line 3, column 7`; None: none is.

    Raises OSError.
    """
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        span = _not_utf8(data, error.start, path, "").span
        return None if span is None else f"byte 0x{data[error.start]:02x} in its line {span.line}, column {span.column}"
    return None


def _not_utf8(data: bytes, start: int, path: Path, what: str) -> Diagnostic:
    line_start = data.rfind(b"\n", 0, start) + 1
    line_end = data.find(b"\n", start)
    line = data[line_start : line_end if line_end >= 0 else len(data)]
    return Diagnostic(
        message=f"the {what} is not UTF-8: byte 0x{data[start]:02x}",
        hint="save the file as UTF-8, for instance with `iconv -f LATIN1 -t UTF-8`",
        span=Span(
            file=str(path),
            line=data.count(b"\n", 0, start) + 1,
            column=len(data[line_start:start].decode("utf-8")) + 1,
            length=1,
            source_line=line.decode("utf-8", "replace").rstrip("\r"),
        ),
    )
