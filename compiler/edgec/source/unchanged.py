"""Makes sure that weights are those the plan was made for, from before they are read until after.

Rule: what was made from a file counts only if the file is the planned one before, and the same one after.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edgec.errors import EdgecError, InputError
from edgec.source.model import Checkpoint
from edgec.source.safetensors import read_header

_HINT = "wait until nothing writes to the file, then build again"


@contextlib.contextmanager
def unchanged(checkpoint: Checkpoint, digest_file: Callable[[Path], str]) -> Iterator[None]:
    """Reads weights within: raises InputError if a file of theirs is not the planned one, before or afterwards.

    `digest_file` gives `sha256:<hex>` of a file (pass a cached one, or all weights are read twice). A failure within is
    shown as the change that caused it, if there was one.
    """
    before = _proven(checkpoint, digest_file)
    try:
        yield
    except EdgecError as error:
        _require_same(checkpoint, before, digest_file, error)
        raise
    _require_same(checkpoint, before, digest_file, None)


def file_changed(path: Path) -> InputError:
    """What a person is told when `path` is not what was planned with."""
    return InputError.of("the file changed while it was read", hint=_HINT, place=str(path))


def weight_stamps(checkpoint: Checkpoint) -> list[list[int | str]]:
    """Name, size, times (ns) and inode of each file of weights, which another file in its place does not share.

    Raises InputError if one is gone.
    """
    found: list[list[int | str]] = []
    for name in _weight_files(checkpoint):
        status = _status(checkpoint.root / name)
        found.append([name, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino])
    return found


def _weight_files(checkpoint: Checkpoint) -> list[str]:
    """Names of the files that tensors are read from. All others were read whole when the build was planned."""
    if checkpoint.header.graph is not None:
        return [file.name for file in checkpoint.header.identity.files]
    return sorted({tensor.file for tensor in checkpoint.header.tensors.values()})


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise file_changed(path) from error


def _stamp(path: Path) -> tuple[int, int, int]:
    status = _status(path)
    return (status.st_size, status.st_mtime_ns, status.st_ino)


def _proven(checkpoint: Checkpoint, digest_file: Callable[[Path], str]) -> dict[str, tuple[int, int, int]]:
    """The stamps of the files of weights, each of which has the planned digest and header."""
    digests = {f.name: f.digest for f in checkpoint.header.identity.files}
    stamps = {}
    integers = checkpoint.header.quantization is not None
    for name in _weight_files(checkpoint):
        path = checkpoint.root / name
        stamps[name] = _stamp(path)
        planned = {n: t for n, t in checkpoint.header.tensors.items() if t.file == name}
        try:
            same = digest_file(path) == digests[name] and (
                checkpoint.header.graph is not None or read_header(path, file=name, integers=integers) == planned
            )
        except OSError as error:
            raise file_changed(path) from error
        if not same:
            raise file_changed(path)
    return stamps


def _require_same(
    checkpoint: Checkpoint,
    before: dict[str, tuple[int, int, int]],
    digest_file: Callable[[Path], str],
    cause: EdgecError | None,
) -> None:
    for name, stamp in before.items():
        if _stamp(checkpoint.root / name) != stamp:
            raise file_changed(checkpoint.root / name) from cause
    # A file written moments before has a time that a later write may share: then the cache hashes it again.
    _proven(checkpoint, digest_file)
