"""What survives a kill: a list of finished layers, with digests of what each of them left on the disk.

Rule: a layer is listed only after its bytes are on the disk, and believed only after they were hashed again. The first
line that is none, or is not true, ends the list.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgec.documents.canonical import canonical_json
from edgec.quantize.output import LinearError
from edgec.store.atomic import explained, write_file

NAME = "journal.jsonl"
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class LayerResult:
    """A finished layer: `sha256:<hex>` of its bytes in the file, of the activations it left (empty without), errors."""

    layer: int
    tensors: str
    hidden: str
    errors: tuple[LinearError, ...]


class Journal:
    """The journal of one folder. `key` stands for everything the bytes depend on; another key starts anew."""

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / NAME
        self._key = key

    def resume(
        self, is_true: Callable[[LayerResult], bool], has_inputs: Callable[[LayerResult], bool]
    ) -> list[LayerResult]:
        """The layers that need not be done again, in order. Rewrites the journal to hold only those.

        `has_inputs`: whether the activations a layer left are there, which only the last layer taken needs.
        """
        found: list[LayerResult] = []
        for result in self._read():
            if result.layer != len(found) or not is_true(result):
                break
            found.append(result)
        while found and not has_inputs(found[-1]):
            found.pop()
        lines = [canonical_json({"key": self._key}), *(canonical_json(asdict(r)) for r in found)]
        write_file(self._path, b"\n".join(lines) + b"\n")
        return found

    def add(self, result: LayerResult) -> None:
        """Lists a finished layer, whose bytes must be durable. Raises ToolError."""
        with explained(self._path), self._path.open("ab") as file:
            file.write(canonical_json(asdict(result)) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def forget(self) -> None:
        """Removes the journal of finished work."""
        with explained(self._path):
            self._path.unlink()

    def _read(self) -> list[LayerResult]:
        if not self._path.exists():
            return []
        with explained(self._path):
            lines = self._path.read_bytes().split(b"\n")
        if lines[0] != canonical_json({"key": self._key}):
            return []
        found: list[LayerResult] = []
        # What follows the last newline was cut by the kill.
        for line in lines[1:-1]:
            if (entry := _parse(line)) is None:
                break
            found.append(entry)
        return found


def range_digest(path: Path, ranges: Sequence[tuple[int, int]]) -> str:
    """`sha256:<hex>` over parts (offset, bytes) of a file; a part that is not there makes another digest."""
    digest = hashlib.sha256()
    with explained(path), path.open("rb") as file:
        for offset, nbytes in ranges:
            file.seek(offset)
            left = nbytes
            while left and (data := file.read(min(_READ_BYTES, left))):
                digest.update(data)
                left -= len(data)
    return f"sha256:{digest.hexdigest()}"


def _parse(line: bytes) -> LayerResult | None:
    try:
        entry = json.loads(line)
        errors = tuple(LinearError(str(e["name"]), float(e["relative_rmse"])) for e in entry["errors"])
        return LayerResult(int(entry["layer"]), str(entry["tensors"]), str(entry["hidden"]), errors)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
