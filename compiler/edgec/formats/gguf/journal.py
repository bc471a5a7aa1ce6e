"""What survives a kill: a list of finished tensors beside the file they are in.

Rule: a tensor is listed only after its bytes are on the disk, and believed only after its bytes were hashed again. What
a power loss or a failing disk made of the list ends it: the first line that is none, and all after it, do not count.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import compress
from pathlib import Path

from edgec.documents.canonical import canonical_json
from edgec.formats.gguf.layout import TensorPlan
from edgec.formats.gguf.output import OutputFiles
from edgec.store.atomic import explained, write_file
from edgec.toolchain.cores import usable_cores

_NAME = "journal.jsonl"
_READ_BYTES = 1 << 20
# Finished bytes that may be lost to a kill: a sync per tensor would cost more than it saves.
_SYNC_BYTES = 16 << 20


@dataclass(frozen=True)
class TensorResult:
    """A finished tensor: `sha256:<hex>` of its bytes, sums of squares over the sampled rows (errors, source values)."""

    name: str
    nbytes: int
    sha256: str
    error_sum: float
    source_sum: float


class Journal:
    """The journal of one work folder. `key` stands for everything the bytes depend on; another key starts anew."""

    def __init__(self, folder: Path, key: str, outputs: OutputFiles) -> None:
        self._path = folder / _NAME
        self._key = key
        self._outputs = outputs
        self._unsynced: list[TensorResult] = []

    def resume(self, tensors: Mapping[str, TensorPlan]) -> dict[str, TensorResult]:
        """Finished tensors whose bytes are what the journal says, by name. Rewrites the journal to hold only those."""
        known = [r for r in self._read() if r.name in tensors]
        # Hashed on all cores: nearly a whole large model may be there.
        with ThreadPoolExecutor(usable_cores()) as pool:
            found = list(compress(known, pool.map(lambda r: self._is_true(r, tensors[r.name]), known)))
        lines = [canonical_json({"key": self._key}), *(canonical_json(asdict(r)) for r in found)]
        write_file(self._path, b"\n".join(lines) + b"\n")
        return {r.name: r for r in found}

    def add(self, result: TensorResult) -> None:
        """Note a finished tensor; it becomes durable with the next sync. Raises ToolError."""
        self._unsynced.append(result)
        if sum(r.nbytes for r in self._unsynced) >= _SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        """Make the data durable, then the entries that claim it. Raises ToolError."""
        self._outputs.sync()
        with explained(self._path), self._path.open("ab") as file:
            file.writelines(canonical_json(asdict(r)) + b"\n" for r in self._unsynced)
            file.flush()
            os.fsync(file.fileno())
        self._unsynced.clear()

    def _read(self) -> list[TensorResult]:
        if not self._path.exists():
            return []
        with explained(self._path):
            lines = self._path.read_bytes().split(b"\n")
        if lines[0] != canonical_json({"key": self._key}):
            return []
        found: list[TensorResult] = []
        # What follows the last newline was cut by the kill.
        for line in lines[1:-1]:
            if (entry := _parse(line)) is None:
                break
            found.append(entry)
        return found

    def _is_true(self, result: TensorResult, tensor: TensorPlan) -> bool:
        digest = hashlib.sha256()
        for start in range(0, tensor.nbytes, _READ_BYTES):
            size = min(_READ_BYTES, tensor.nbytes - start)
            digest.update(self._outputs.read(tensor.file, size, tensor.offset + start))
        return result.sha256 == f"sha256:{digest.hexdigest()}"


def forget(folder: Path) -> None:
    """Removes the journal of a finished work folder. Raises ToolError."""
    path = folder / _NAME
    with explained(path):
        path.unlink()


def _parse(line: bytes) -> TensorResult | None:
    """The entry in a line of the journal, or None if it is none."""
    try:
        entry = json.loads(line)
        result = TensorResult(
            name=str(entry["name"]),
            nbytes=int(entry["nbytes"]),
            sha256=str(entry["sha256"]),
            error_sum=float(entry["error_sum"]),
            source_sum=float(entry["source_sum"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    sums = (result.error_sum, result.source_sum)
    return result if all(math.isfinite(s) and s >= 0 for s in sums) else None
