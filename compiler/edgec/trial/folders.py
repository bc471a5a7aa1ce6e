"""Temporary folders for what is tried: their names tell their owner, and those of the killed go at the next start."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgec.trial.owners import is_left_behind, own_mark

_NAME = re.compile(r"edgec-[a-z]+-(?P<mark>\d+_\d+_\d+)_.+")


@contextlib.contextmanager
def trial_folder(purpose: str) -> Iterator[Path]:
    """An empty folder, removed when the block ends. `purpose`: a word of small letters for its name."""
    try:
        mark = f"{own_mark()}_"
        _remove_left_behind(Path(tempfile.gettempdir()))
    except OSError:
        # Where the system tells no owners, only a kill leaves folders.
        mark = ""
    with tempfile.TemporaryDirectory(prefix=f"edgec-{purpose}-{mark}") as folder:
        yield Path(folder)


def _remove_left_behind(parent: Path) -> None:
    for folder in parent.glob("edgec-*"):
        name = _NAME.fullmatch(folder.name)
        if name is None or not is_left_behind(name["mark"]):
            continue
        # Others may remove it at the same moment, or may have made it: the folder is everybody's.
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.getuid():
                shutil.rmtree(folder)
