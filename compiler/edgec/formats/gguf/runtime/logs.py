"""Where the output of llama.cpp's processes goes. Rule: a folder of logs never grows without end."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgec.store.atomic import explained

# Logs of failed runs that are kept, the newest.
KEPT = 20
_PREFIX = "edgec-llama-"


def new_log(folder: Path | None) -> Path:
    """A new empty log in `folder` (None: the system's temporary folder); the oldest of more than 20 are removed.

    Raises ToolError when the folder cannot be written.
    """
    if folder is None:
        return _made(Path(tempfile.gettempdir()))
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        log = _made(folder)
        ages = sorted(((_modified_ns(p), p) for p in folder.glob(f"{_PREFIX}*.log") if p != log), reverse=True)
        for _, old in ages[KEPT - 1 :]:
            old.unlink(missing_ok=True)
    return log


def _made(folder: Path) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=_PREFIX, suffix=".log", dir=folder)
    os.close(descriptor)
    return Path(name)


def _modified_ns(path: Path) -> int:
    """0 for a log that another build has removed meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
