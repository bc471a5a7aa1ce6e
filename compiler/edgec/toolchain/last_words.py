"""What the output of a tool that failed tells a person: the cause, and the end of the output without its noise.

Rule: nothing is lost: the log has all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_TAIL_LINES = 20
_CAUSE_CHARS = 300
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TRACEBACK = "Traceback (most recent call last):"
# `ValueError: no such operator`, where no traceback stands before it.
_EXCEPTION = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)(?::\s.*)?$")
# Warnings of Python, of Python's logging, of onnxruntime and of rknn-toolkit2 (which also tells what it does); bars.
_NOISE = re.compile(r"\b\w*Warning: |\bWARN(?:ING)?\b|\[W:onnx|^[WI] |\d%\|")


def plain_lines(output: str) -> list[str]:
    """The output's lines without colours and without the empty ones."""
    return [line for line in _COLOUR.sub("", output).splitlines() if line.strip()]


def cause_of(lines: Sequence[str]) -> str:
    """The exception that ended a Python program; empty without one."""
    last = max((i for i, line in enumerate(lines) if line == _TRACEBACK), default=None)
    if last is None:
        found = next((line for line in reversed(lines) if _EXCEPTION.match(line)), "")
    else:
        found = next((line for line in lines[last + 1 :] if not line.startswith(" ")), "")
    return found if len(found) <= _CAUSE_CHARS else f"{found[:_CAUSE_CHARS]}..."


def tail_of(lines: Sequence[str]) -> list[str]:
    """The last lines that are no warnings."""
    return list(_telling(lines))[-_TAIL_LINES:]


def _telling(lines: Sequence[str]) -> Iterator[str]:
    was_warning = False
    for line in lines:
        # Python shows the line that warned below the warning.
        belongs_to_it = was_warning and line.startswith("  ")
        was_warning = bool(_NOISE.search(line))
        if not was_warning and not belongs_to_it:
            yield line
