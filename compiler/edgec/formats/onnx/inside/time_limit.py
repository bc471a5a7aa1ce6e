"""Beside the scripts of graphs: a limit of time for a part of one. Rule: what the part catches does not undo it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


class TooLong(BaseException):
    """The time is over. Not an Exception: a quantizer that catches those must not swallow it."""


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raises TooLong between two steps of Python once the time is over; one run of a model ends first."""

    def ring(_number: int, _frame: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
