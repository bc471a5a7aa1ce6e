"""How the quantizer's kernels are compiled: released from the interpreter lock, kept on disk per user.

Rule: no fast-math, so that a kernel's result does not depend on how it was vectorised; compiled code is kept in a
folder named after its sources, because numba looks only at the file that defines a function.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from edgec.store.paths import cache_home


def _cache_folder() -> Path | None:
    """Where compiled code is kept between runs, made when needed; None when it cannot be written."""
    digest = hashlib.sha256()
    for source in (Path(__file__), Path(__file__).with_name("kernels.py")):
        digest.update(source.read_bytes())
    folder = cache_home() / "numba" / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


_FOLDER = _cache_folder()


def compiled(function: Callable[..., Any]) -> Any:
    """`function` as machine code, made at its first call."""
    # The folder is looked at when the decorator runs; another package of ours has a folder of its own.
    before = numba.config.CACHE_DIR
    if _FOLDER is not None:
        numba.config.CACHE_DIR = str(_FOLDER)
    try:
        return numba.njit(cache=_FOLDER is not None, error_model="numpy", nogil=True)(function)
    finally:
        numba.config.CACHE_DIR = before
