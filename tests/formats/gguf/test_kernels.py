"""Which code quantizes: small models stay with ggml, large ones get checked kernels, whatever the cache's state."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgec.events import Event, Note, silent
from edgec.formats.gguf.kernels import QUANTIZE_BY_GGML, choose_quantize, trusted_keys
from edgec.formats.gguf.layout import TensorPlan
from edgec.formats.gguf.model import TensorMapping
from edgec.formats.gguf.types import TensorType

# Quantizes a large tensor's sample in a fresh interpreter: prints each Note, then whether the bytes are ggml's.
_SCRIPT = """
import sys
import numpy as np
from edgec.formats.gguf import ggml
from edgec.formats.gguf.kernels import QUANTIZE_BY_GGML, choose_quantize
from edgec.formats.gguf.layout import TensorPlan
from edgec.formats.gguf.model import TensorMapping
from edgec.formats.gguf.source_rows import SourceRows
from edgec.formats.gguf.types import TensorType
from edgec.source.model import DType

plan = TensorPlan(TensorMapping("a", None, (1 << 20, 256)), TensorType.Q6_K, None, "", 0, 0)
quantize = choose_quantize([plan], {}, lambda event: print(event.level, event.message))
values = np.random.default_rng(0).standard_normal((1, 256), np.float32)
ours, theirs = np.zeros(210, np.uint8), np.zeros(210, np.uint8)
quantize(TensorType.Q6_K, SourceRows(values, DType.F32), ours, None)
ggml.quantize(TensorType.Q6_K, values, theirs, None)
print("equal", (ours == theirs).all(), quantize is not QUANTIZE_BY_GGML, "numba" in sys.modules)
"""


def _plan(tensor_type: TensorType, rows: int) -> TensorPlan:
    return TensorPlan(TensorMapping("a", None, (rows, 256)), tensor_type, None, "", 0, 0)


def _start(cache: str) -> subprocess.Popen[str]:
    env: Mapping[str, str] = os.environ | {"EDGEC_CACHE": cache}
    return subprocess.Popen([sys.executable, "-c", _SCRIPT], env=env, stdout=subprocess.PIPE, text=True)


def _lines(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out.splitlines()


@pytest.mark.parametrize(
    ("tensor_type", "rows"),
    [(TensorType.Q4_K, 1 << 14), (TensorType.Q8_0, 1 << 22), (TensorType.BF16, 1 << 30)],
)
def test_what_ggml_does_quickly_stays_with_ggml(tensor_type: TensorType, rows: int) -> None:
    events: list[Event] = []
    assert choose_quantize([_plan(tensor_type, rows)], {}, events.append, machine="x86_64") is QUANTIZE_BY_GGML
    assert not events


def test_where_ggml_has_other_bytes_the_kernels_quantize_the_smallest_tensor() -> None:
    plan = _plan(TensorType.Q8_0, 1)
    assert choose_quantize([plan], {}, silent, machine="x86_64") is QUANTIZE_BY_GGML
    assert choose_quantize([plan], {}, silent, machine="aarch64") is not QUANTIZE_BY_GGML
    assert choose_quantize([_plan(TensorType.F16, 1)], {}, silent, machine="aarch64") is QUANTIZE_BY_GGML


def test_code_is_compiled_once_and_two_processes_may_do_it(tmp_path: Path) -> None:
    both = [_start(str(tmp_path)) for _ in range(2)]
    for process in both:
        assert _lines(process)[-1] == "equal True True True"
    assert list((tmp_path / "numba").rglob("*.nbi"))
    assert _lines(_start(str(tmp_path))) == ["equal True True True"]


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    first, last = _lines(_start(str(tmp_path / "file")))
    assert first.startswith("info compiling")
    assert last == "equal True True True"


def test_kernels_that_make_other_bytes_are_named_and_not_used() -> None:
    events: list[Event] = []
    good, bad = (TensorType.Q4_K, False), (TensorType.Q6_K, True)
    assert trusted_keys([good, bad], lambda key: key == good, events.append) == {good}
    assert [e.level for e in events if isinstance(e, Note)] == ["warning"]
    assert "q6_k with an importance matrix" in str(events[0])
