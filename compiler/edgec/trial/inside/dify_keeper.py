"""Starts a Dify plugin as its daemon does, `python -m main`, and ends it with edgec. edgec starts this file and never
imports it.

Rule: the plugin's parent is this process. The SDK ends a plugin only when its parent is process 1, which edgec itself
is in a container, and it spins on a standard input that has been closed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def main(lifeline: int) -> int:
    """Runs the plugin in the working folder and returns its exit code."""
    os.set_inheritable(lifeline, False)

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
    return subprocess.run([sys.executable, "-m", "main"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
