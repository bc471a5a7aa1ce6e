"""Progress over files that take seconds to read."""

from __future__ import annotations

from collections.abc import Iterator

from edgec.events import Progress, Reporter

_STEP_BYTES = 64 << 20


class ByteMeter:
    """Counts bytes that pass through and reports them, at the start of each file and every 64 MiB."""

    def __init__(self, report: Reporter, action: str, total_bytes: int) -> None:
        self._report = report
        self._action = action
        self._total = total_bytes
        self._done = 0

    def over(self, chunks: Iterator[bytes], detail: str) -> Iterator[bytes]:
        """The same chunks, counted."""
        self._send(detail)
        next_report = self._done + _STEP_BYTES
        for chunk in chunks:
            yield chunk
            self._done += len(chunk)
            if self._done >= next_report:
                self._send(detail)
                next_report = self._done + _STEP_BYTES

    def finish(self) -> None:
        """Reports the end."""
        self._done = self._total
        self._send("")

    def _send(self, detail: str) -> None:
        self._report(Progress(self._action, self._done, self._total, "bytes", detail))
