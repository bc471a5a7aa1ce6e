"""Standard output and error whose reader may go away (`edgec build ... | head`).

Rule: nobody listening is no reason to stop: the command ends its work, and its exit code says how that went.
"""

from __future__ import annotations

import io
import sys
from typing import Any, TextIO


class _PatientFile(io.FileIO):
    """A descriptor; what is written after its reader went away is dropped."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def outlive_readers() -> None:
    """Replaces `sys.stdout` and `sys.stderr`."""
    sys.stdout = _patient(sys.stdout)
    sys.stderr = _patient(sys.stderr)


def _patient(stream: TextIO) -> TextIO:
    try:
        raw = _PatientFile(stream.fileno(), "w", closefd=False)
    except (AttributeError, OSError, ValueError):
        # Closed by who started the command, or not a file.
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )
