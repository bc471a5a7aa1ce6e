"""Triton's regions of shared memory: names that tell their owner, and the end of those whose owner is dead."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from edgec.trial.owners import is_left_behind, own_mark

_FOLDER = Path("/dev/shm")  # noqa: S108 - where Triton puts them, under names of ours
_NAME = re.compile(r"edgec_(?P<mark>\d+_\d+_\d+)_[0-9a-f]{8}_.*")


@contextlib.contextmanager
def region_prefix() -> Iterator[str]:
    """How the names of one server's regions begin; they are removed when the block ends."""
    remove_left_behind()
    prefix = f"edgec_{own_mark()}_{secrets.token_hex(4)}_"
    try:
        yield prefix
    finally:
        for region in _FOLDER.glob(f"{prefix}*"):
            region.unlink(missing_ok=True)


def remove_left_behind() -> None:
    """Removes the regions whose owner was killed."""
    for region in _FOLDER.glob("edgec_*"):
        name = _NAME.fullmatch(region.name)
        if name is not None and is_left_behind(name["mark"]):
            # Another user's: the owner's next start removes it.
            with contextlib.suppress(PermissionError):
                region.unlink(missing_ok=True)
