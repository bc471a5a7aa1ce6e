"""Python code that runs in a process of its own, pauses while it holds something, and goes on when told to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

PAUSE = "print('ready', flush=True); sys.stdin.readline()"
_FRAME = "import sys\nfrom pathlib import Path\n{code}\n"

Start = Callable[[str], subprocess.Popen[str]]


def start_holder(code: str) -> subprocess.Popen[str]:
    """Starts `code`, which may use `Path`; one of its lines is `PAUSE`."""
    return subprocess.Popen(
        [sys.executable, "-c", _FRAME.format(code=code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
