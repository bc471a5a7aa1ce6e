"""What a killed or meddled-with run left: made usable again, or removed; never followed elsewhere.

Rule: a step writes into plain files of its own user that stand nowhere else; what else is found in their place goes.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path


def make_usable(folder: Path) -> None:
    """Makes `folder` a folder of plain files that this user may write to; keeps what is so already. Raises OSError."""
    if folder.is_symlink() or not folder.is_dir():
        delete(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        status = path.lstat()
        # A second link is another's name for the same bytes, which would change with ours.
        own = status.st_uid == os.geteuid() and status.st_nlink == 1
        if not (stat.S_ISREG(status.st_mode) and own):
            delete(path)
        elif not status.st_mode & stat.S_IWUSR:
            path.chmod(0o644)


def delete(path: Path) -> None:
    """Removes a file, a link (not what it leads to) or a folder, if there is one. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
