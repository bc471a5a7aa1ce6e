"""How the kernels are compiled: without fast-math, released from the interpreter lock, kept on disk per user.

Rule: compiled code is kept in a folder named after the sources of the whole package, because numba itself only looks at
the one file that defines a function, not at those it calls.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numba
import numpy as np
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name  # type: ignore[import-untyped]

from edgec.formats.gguf.lanes.vector import WIDTH
from edgec.store.paths import cache_home

# Elements per cache line.
_LINE = 16
ZERO, ONE = np.float32(0), np.float32(1)
INFINITY = np.float32(np.inf)
# ggml takes sub-blocks with no greater magnitude for zeros.
SMALLEST_MAGNITUDE = np.float32(1e-15)


def cache_folder() -> Path | None:
    """Where compiled code is kept between runs, made when needed; None when it cannot be written."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    folder = cache_home() / "numba" / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return None


_FOLDER = cache_folder()
if _FOLDER is not None:
    numba.config.CACHE_DIR = str(_FOLDER)

# On processors with 512-bit vectors LLVM would use 256-bit ones, which suits code that seldom uses them.
if "+avx512f" in (_FEATURES := get_host_cpu_features().flatten()).split(","):
    numba.config.CPU_NAME, numba.config.CPU_FEATURES = get_host_cpu_name(), f"{_FEATURES},-prefer-256-bit"

compiled = numba.njit(cache=_FOLDER is not None, error_model="numpy", nogil=True)


@compiled
def scratch(rows):  # type: ignore[no-untyped-def]
    """A tile (rows, WIDTH) of float32 that begins where a cache line does: wide vectors then never straddle two."""
    buffer = np.empty(rows * WIDTH + _LINE, np.float32)
    skip = (-(buffer.ctypes.data // 4)) % _LINE
    return buffer[skip : skip + rows * WIDTH].reshape((rows, WIDTH))


def has_compiled_code() -> bool:
    """Whether an earlier run left compiled code; without a place for it every run compiles."""
    return _FOLDER is not None and any(_FOLDER.rglob("*.nbi"))
