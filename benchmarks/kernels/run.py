"""Quantize the same weights with ggml_quantize_chunk and with edgec's kernels, one core, in turns.

Prints a markdown table and writes the same as JSON. Times are CPU seconds of this process, medians over the rounds; the
bytes of both sides are compared: they must be equal. The memory bandwidth is that of copying a large array once (bytes
read plus written); a kernel's share of it counts the float32 weights it reads and the blocks it writes.

Usage: python benchmarks/kernels/run.py [--types q4_k q6_k] [--rounds 9] [--columns 4096] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf import ggml
from edgec.formats.gguf.lanes import registry
from edgec.formats.gguf.types import TensorType

# Weights per call, as in the compile's slabs.
_ELEMENTS = 1 << 19
_COPY_BYTES = 256 << 20


@dataclass(frozen=True)
class Row:
    """One type: millions of weights per CPU second, and what a copy of the memory would make of the same bytes."""

    type: str
    importance: bool
    ggml_mweights_per_s: float
    lanes_mweights_per_s: float
    ratio: float
    lowest_ratio: float
    share_of_memory_bandwidth: float


def _seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def memory_bandwidth(rounds: int) -> float:
    """Bytes read and written per CPU second by a copy that does not fit the caches."""
    source, target = np.ones(_COPY_BYTES, np.uint8), np.zeros(_COPY_BYTES, np.uint8)
    return 2 * _COPY_BYTES / statistics.median(_seconds(lambda: np.copyto(target, source)) for _ in range(rounds))


def measure(
    tensor_type: TensorType,
    values: NDArray[np.float32],
    importance: NDArray[np.float32] | None,
    rounds: int,
    copy: float,
) -> Row:
    """Both sides in turns. Raises RuntimeError when their bytes differ."""
    size = values.shape[0] * tensor_type.row_bytes(values.shape[1])
    ours, theirs = np.zeros(size, np.uint8), np.ones(size, np.uint8)
    registry.quantize(tensor_type, values, ours, importance)
    ggml_s, lanes_s = [], []
    for _ in range(rounds):
        ggml_s.append(_seconds(lambda: ggml.quantize(tensor_type, values, theirs, importance)))
        lanes_s.append(_seconds(lambda: registry.quantize(tensor_type, values, ours, importance)))
    if (ours != theirs).any():
        raise RuntimeError(f"{tensor_type.label}: the bytes differ")
    ggml_median, lanes_median = statistics.median(ggml_s), statistics.median(lanes_s)
    return Row(
        tensor_type.label,
        importance is not None,
        values.size / ggml_median / 1e6,
        values.size / lanes_median / 1e6,
        ggml_median / lanes_median,
        min(g / o for g, o in zip(ggml_s, lanes_s, strict=True)),
        (values.nbytes + size) / lanes_median / copy,
    )


def _table(facts: dict[str, object], rows: Sequence[Row]) -> str:
    lines = [", ".join(f"{name}: {value}" for name, value in facts.items()), ""]
    lines.append(
        "| type | importance | ggml, Mweights per CPU s | edgec | ratio (lowest round) | share of memory bandwidth |"
    )
    lines.append("|---|---|---|---|---|---|")
    for r in rows:
        lines.append(
            f"| {r.type} | {'yes' if r.importance else 'no'} | {r.ggml_mweights_per_s:.1f} "
            f"| {r.lanes_mweights_per_s:.1f} | {r.ratio:.1f} ({r.lowest_ratio:.1f}) "
            f"| {r.share_of_memory_bandwidth:.1%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for."""
    labels = sorted({t.label for t, _ in registry.KERNELS})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", nargs="+", default=labels, choices=labels)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    shape = (max(1, _ELEMENTS // options.columns), options.columns)
    values = (rng.standard_normal(shape) * 0.02).astype(np.float32)
    importance = rng.standard_exponential(options.columns, np.float32)
    copy = memory_bandwidth(options.rounds)
    rows = []
    for tensor_type, with_importance in registry.KERNELS:
        if tensor_type.label in options.types:
            weights = importance if with_importance else None
            rows.append(measure(tensor_type, values, weights, options.rounds, copy))
            print(f"{rows[-1].type} {rows[-1].ratio:.1f}", file=sys.stderr)
    facts: dict[str, object] = {name: version(name) for name in ("xllamacpp", "numba", "numpy")}
    facts |= {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    facts |= {"load": round(os.getloadavg()[0], 1), "memory copy GB per CPU s": round(copy / 1e9, 1)}
    print(_table(facts, rows))
    if options.json:
        options.json.write_text(json.dumps({"facts": facts, "rows": [asdict(r) for r in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
