"""Files that a toolchain makes in a folder beside the result, and how one of them becomes the result.

Rule: a tool's exit code says nothing of its files; what a killed run left is removed by the next.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgec.errors import ToolError
from edgec.store.atomic import explained, fsync_folder


@contextlib.contextmanager
def scratch_in(out: Path, name: str) -> Iterator[Path]:
    """An empty folder `name` in `out`, which is made if it is not there, until the block ends."""
    scratch = out / name
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def require_file(
    path: Path, what: str, log: Path, *, missing: str = "a model file", most_bytes: int | None = None
) -> None:
    """Raises ToolError when `what` made no file there, an empty one, or more than was planned."""
    hint = f"the whole output is in {log}"
    if path.is_symlink() or not path.is_file():
        raise ToolError.of(f"{what} ended without {missing}", hint=hint)
    size = path.stat().st_size
    if size == 0 or (most_bytes is not None and size > most_bytes):
        raise ToolError.of(f"{what} made a file of {size} bytes, and at most {most_bytes} were planned", hint=hint)


def keep(made: Path, final: Path) -> None:
    """Moves a file to where it counts, durably."""
    with explained(final):
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        made.replace(final)
        fsync_folder(final.parent)
