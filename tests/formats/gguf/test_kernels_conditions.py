"""Kernels under poor conditions: a read-only install, no numba, a compiler that rounds otherwise. ggml's bytes always.

Each condition is real, in an interpreter of its own; sitecustomize.py is what Python itself runs first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import edgec

_PACKAGE = Path(edgec.__file__).parent

# Quantizes a sample of a tensor that ggml would need long for: prints each Note, then whether the bytes are ggml's.
_SCRIPT = """
import sys
import numpy as np
import edgec
from edgec.formats.gguf import ggml
from edgec.formats.gguf.kernels import choose_quantize
from edgec.formats.gguf.layout import TensorPlan
from edgec.formats.gguf.model import TensorMapping
from edgec.formats.gguf.source_rows import SourceRows
from edgec.formats.gguf.types import TensorType
from edgec.source.model import DType

plan = TensorPlan(TensorMapping("a", None, (1 << 20, 256)), TensorType.Q4_K, None, "", 0, 0)
quantize = choose_quantize([plan], {}, lambda event: print(event.level, event.message))
values = np.random.default_rng(0).standard_normal((64, 256), np.float32)
ours, theirs = np.zeros(64 * 144, np.uint8), np.zeros(64 * 144, np.uint8)
quantize(TensorType.Q4_K, SourceRows(values, DType.F32), ours, None)
ggml.quantize(TensorType.Q4_K, values, theirs, None)
print(edgec.__file__)
print("equal" if (ours == theirs).all() else "different", "numba" in sys.modules)
"""

_WITHOUT_NUMBA = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"numba", "llvmlite"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""

# Lets LLVM contract and reorder, in the kernels' vectors too.
_WITH_FAST_MATH = """
from llvmlite.ir import IRBuilder

for name in ("fadd", "fsub", "fmul", "fdiv"):
    def fast(self, x, y, name="", flags=(), exact=getattr(IRBuilder, name)):
        return exact(self, x, y, name, flags=("fast",))

    setattr(IRBuilder, name, fast)
"""


def _run(tmp_path: Path, *, first: str = "", packages: Path = _PACKAGE.parent) -> list[str]:
    """Lines of _SCRIPT after `first`, with edgec from the folder `packages`; code is kept in tmp_path/cache."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(first)
    path = os.pathsep.join((str(site), str(packages)))
    env = os.environ | {"EDGEC_CACHE": str(tmp_path / "cache"), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", _SCRIPT]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_read_only_install_is_not_written_to(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    shutil.copytree(_PACKAGE, packages / "edgec", ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(packages.rglob("*"))
    for path in [packages, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    lines = _run(tmp_path, packages=packages)
    assert lines[0].startswith("info compiling")
    assert lines[1:] == [str(packages / "edgec" / "__init__.py"), "equal True"]
    # Permissions do not stop root: nothing was tried either.
    assert sorted(packages.rglob("*")) == before
    assert list((tmp_path / "cache").rglob("*.nbc"))


def test_without_numba_ggml_quantizes_and_says_so(tmp_path: Path) -> None:
    note, _, last = _run(tmp_path, first=_WITHOUT_NUMBA)
    assert note.startswith("warning numba cannot be loaded (No module named 'numba")
    assert "ggml quantizes" in note
    assert last == "equal False"


def test_code_that_rounds_otherwise_is_found_and_not_used(tmp_path: Path) -> None:
    *notes, _, last = _run(tmp_path, first=_WITH_FAST_MATH)
    (warning,) = [note for note in notes if note.startswith("warning")]
    assert "q4_k" in warning
    assert "ggml is used" in warning
    assert last == "equal True"
