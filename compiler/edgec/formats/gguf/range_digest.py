"""SHA-256 of a range of a file whose pieces are finished in any order and by any thread.

Rule: nobody waits. Who finishes the next piece hashes it and all finished ones after it; the others leave theirs, which
are read from the file again. What is kept of a piece is its place, so that memory does not depend on who is ahead.
"""

from __future__ import annotations

import hashlib
import threading

from edgec.errors import ToolError
from edgec.formats.gguf.output import OutputFiles

_READ_BYTES = 1 << 20


class RangeDigest:
    """The digest of bytes `start` to `end` of file `name`. Thread-safe; hashes no more once `stop` is set."""

    def __init__(self, files: OutputFiles, name: str, start: int, end: int, stop: threading.Event) -> None:
        self._files = files
        self._name = name
        self._position = start
        self._end = end
        self._stop = stop
        self._digest = hashlib.sha256()
        # Where finished pieces begin, and where they end.
        self._finished: dict[int, int] = {}
        self._busy = False
        self._lock = threading.Lock()

    def add(self, offset: int, data: bytes | memoryview) -> bool:
        """Take a piece that stands in the file; True when the digest is complete now, told to one thread only."""
        end = offset + len(data)
        with self._lock:
            if self._busy or offset != self._position:
                self._finished[offset] = end
                return False
            self._busy = True
        self._digest.update(data)
        return self._hash_on(end)

    def note(self, offset: int, nbytes: int) -> None:
        """A piece that stands in the file already; it is hashed when the ones before it are, by who adds them."""
        with self._lock:
            self._finished[offset] = offset + nbytes

    @property
    def sha256(self) -> str:
        """`sha256:<hex>` of the whole range. Raises ValueError when a piece is missing."""
        if self._position != self._end:
            raise ValueError(f"{self._name}: hashed up to {self._position} of {self._end}")
        return f"sha256:{self._digest.hexdigest()}"

    def _hash_on(self, position: int) -> bool:
        """Hash all finished pieces from `position` on; True at the end of the range."""
        while not self._stop.is_set():
            with self._lock:
                self._position = position
                end = self._finished.pop(position, None)
                if end is None:
                    self._busy = False
                    return position == self._end
            while position < end and not self._stop.is_set():
                data = self._files.read(self._name, min(_READ_BYTES, end - position), position)
                if not data:
                    raise ToolError.of("the file was cut while it was written", place=self._name, hint="build again")
                self._digest.update(data)
                position += len(data)
        return False
