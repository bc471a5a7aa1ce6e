"""How the kernels are compiled: without fast-math, released from the interpreter lock, kept on disk per user.

Rule: compiled code is kept in a folder named after the sources of the whole package, because numba itself only looks at
the one file that defines a function, not at those it calls.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from edgec.store.paths import cache_home

# Sub-blocks per tile: 8 vectors of 8 floats; a tile (8 KiB), its weights and its levels stay in the L1 cache.
LANES = 64
# Adding and subtracting 1.5 * 2^23 rounds a float32 to the nearest even integer, if it is below 2^22.
ROUND = np.float32(12582912.0)
ROUND_LIMIT = np.float32(4194303.0)
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

compiled = numba.njit(cache=_FOLDER is not None, error_model="numpy", nogil=True)


def has_compiled_code() -> bool:
    """Whether an earlier run left compiled code; without a place for it every run compiles."""
    return _FOLDER is not None and any(_FOLDER.rglob("*.nbi"))


@intrinsic  # type: ignore[untyped-decorator]
def _bits(_context: Any, _value: Any) -> Any:
    """The bits of a float32 as int32."""

    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@compiled
def nearest(value):  # type: ignore[no-untyped-def]
    """The nearest even integer as ggml finds it, whatever it finds for numbers of 2^22 and more."""
    return (_bits(value + ROUND) & np.int32(0x7FFFFF)) - np.int32(0x400000)
