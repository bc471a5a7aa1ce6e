"""How the quantizer's kernels are compiled: released from the interpreter lock, kept on disk per user.

Rule: no fast-math, so that a kernel's result does not depend on how it was vectorised; compiled code is kept in a
folder named after its sources, because numba looks only at the file that defines a function. numba, which takes half a
second, is loaded at the first call.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


_ONE_AT_A_TIME = threading.Lock()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as machine code, made at its first call."""
    code: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        if not code:
            with _ONE_AT_A_TIME:
                if not code:
                    code.append(_machine_code(function))
        return code[0](*arguments)

    return call


def _machine_code(function: Callable[..., Any]) -> Any:
    numba = importlib.import_module("numba")
    folder = _cache_folder()
    # The folder is looked at when the decorator runs; another package of ours has a folder of its own.
    before = numba.config.CACHE_DIR
    if folder is not None:
        numba.config.CACHE_DIR = str(folder)
    try:
        return numba.njit(cache=folder is not None, error_model="numpy", nogil=True)(function)
    finally:
        numba.config.CACHE_DIR = before
