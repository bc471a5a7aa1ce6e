"""Installs a toolchain in a process of its own, which tests race or kill: `install_driver.py LOCK SMOKE ROOT LOG`."""

from __future__ import annotations

import sys
from pathlib import Path

from tiny_wheels import toolchain_of

from edgec.events import Event
from edgec.toolchain.environments import install


def main(lock: str, smoke: str, root: str, log: str) -> None:
    """Prints each event, and the folder at the end."""
    path = Path(lock)
    pins = path.read_text(encoding="utf-8").partition("\n")[2]
    toolchain = toolchain_of(path.with_suffix(f".{log.rpartition('/')[2]}"), pins, smoke=(smoke,))

    def report(event: Event) -> None:
        sys.stdout.write(f"{event}\n")
        sys.stdout.flush()

    environment = install(toolchain, Path(root), offline=True, report=report, log=Path(log))
    sys.stdout.write(f"made {environment.folder}\n")


main(*sys.argv[1:])
