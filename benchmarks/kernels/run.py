"""Quantize the same weights with ggml_quantize_chunk and with edgec's kernels, one core, in turns.

Prints markdown tables and writes the same as JSON. Times are CPU seconds of this thread, the least of the rounds: a
busy neighbour on the core only adds to them. The bytes of both sides are compared: they must be equal. The memory
bandwidth is that of copying a large array once (bytes read plus written); a kernel's share of it counts the float32
weights it reads and the blocks it writes.

`--data`: also weights that are all zero, denormal, tiny, huge, or of sizes that ggml's rounding wraps around at.
`--slabs`: also slabs of bfloat16 rows, widened by chunks as in the compile, or all at once before.

Usage: python benchmarks/kernels/run.py [--types q4_k q6_k] [--data normal zero] [--slabs] [--rounds 9] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf import ggml
from edgec.formats.gguf.lanes import registry
from edgec.formats.gguf.source_rows import SourceRows, by_chunks
from edgec.formats.gguf.types import TensorType
from edgec.source.model import DType

Floats = NDArray[np.float32]
# Rows and columns per call, as in the compile's slabs.
_SHAPE = (128, 4096)
_SLABS = 8
_COPY_BYTES = 256 << 20


def _scaled(rng: np.random.Generator, exponent: int) -> Floats:
    return np.ldexp(rng.standard_normal(_SHAPE), exponent).astype(np.float32)


_DATA: Mapping[str, Callable[[np.random.Generator], Floats]] = {
    "normal": lambda r: r.standard_normal(_SHAPE, np.float32) * np.float32(0.02),
    "zero": lambda _: np.zeros(_SHAPE, np.float32),
    "denormal": lambda r: _scaled(r, -132),
    "squares denormal": lambda r: _scaled(r, -66),
    "tiny": lambda r: _scaled(r, -52),
    "huge": lambda r: _scaled(r, 16).clip(-60000, 60000),
    "any size": lambda r: np.ldexp(r.standard_normal(_SHAPE), r.integers(-60, 10, _SHAPE)).astype(np.float32),
}


@dataclass(frozen=True)
class Row:
    """One type: millions of weights per CPU second, and what a copy of the memory would make of the same bytes."""

    type: str
    importance: bool
    data: str
    ggml_mweights_per_s: float
    lanes_mweights_per_s: float
    ratio: float
    lowest_ratio: float
    share_of_memory_bandwidth: float


@dataclass(frozen=True)
class SlabRow:
    """bfloat16 rows of one type without importance, in millions of weights per CPU second."""

    type: str
    widened_before_mweights_per_s: float
    by_chunks_mweights_per_s: float
    share_of_memory_bandwidth: float


def _seconds(work: Callable[[], object]) -> float:
    begin = time.thread_time()
    work()
    return time.thread_time() - begin


def memory_bandwidth(rounds: int) -> float:
    """Bytes read and written per CPU second by a copy that does not fit the caches."""
    source, target = np.ones(_COPY_BYTES, np.uint8), np.empty(_COPY_BYTES, np.uint8)
    return 2 * _COPY_BYTES / min(_seconds(lambda: np.copyto(target, source)) for _ in range(rounds + 1))


def measure(tensor_type: TensorType, data: str, *, with_importance: bool, rounds: int, copy: float) -> Row:
    """Both sides in turns. Raises RuntimeError when their bytes differ."""
    rng = np.random.default_rng(0)
    values = np.ascontiguousarray(_DATA[data](rng), np.float32)
    importance = rng.standard_exponential(_SHAPE[1], np.float32) if with_importance else None
    size = _SHAPE[0] * tensor_type.row_bytes(_SHAPE[1])
    ours, theirs = np.zeros(size, np.uint8), np.ones(size, np.uint8)
    registry.quantize(tensor_type, values, ours, importance)
    ggml_s, lanes_s = [], []
    for _ in range(rounds):
        ggml_s.append(_seconds(lambda: ggml.quantize(tensor_type, values, theirs, importance)))
        lanes_s.append(_seconds(lambda: registry.quantize(tensor_type, values, ours, importance)))
    if (ours != theirs).any():
        raise RuntimeError(f"{tensor_type.label}: the bytes differ")
    return Row(
        tensor_type.label,
        with_importance,
        data,
        values.size / min(ggml_s) / 1e6,
        values.size / min(lanes_s) / 1e6,
        min(ggml_s) / min(lanes_s),
        min(g / o for g, o in zip(ggml_s, lanes_s, strict=True)),
        (values.nbytes + size) / min(lanes_s) / copy,
    )


def measure_slabs(tensor_type: TensorType, rounds: int, copy: float) -> SlabRow:
    """Several slabs, so that their rows come from memory. Raises RuntimeError when the bytes differ."""
    values = np.random.default_rng(0).standard_normal((_SLABS, *_SHAPE), np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    size = _SHAPE[0] * tensor_type.row_bytes(_SHAPE[1])
    buffer, outs = np.empty(_SHAPE, np.float32), np.zeros((2, size), np.uint8)
    quantize = by_chunks(registry.quantize)

    def widen_before() -> None:
        for slab in bits:
            ggml.widen(slab.reshape(-1), buffer.reshape(-1), brain=True)
            registry.quantize(tensor_type, buffer, outs[0], None)

    def widen_by_chunks() -> None:
        for slab in bits:
            quantize(tensor_type, SourceRows(slab, DType.BF16), outs[1], None)

    turns = [(_seconds(widen_before), _seconds(widen_by_chunks)) for _ in range(rounds)]
    before, chunks = min(turn[0] for turn in turns), min(turn[1] for turn in turns)
    if (outs[0] != outs[1]).any():
        raise RuntimeError(f"{tensor_type.label}: the bytes differ")
    share = (bits.nbytes + _SLABS * size) / chunks / copy
    return SlabRow(tensor_type.label, bits.size / before / 1e6, bits.size / chunks / 1e6, share)


def _print_rows(rows: Sequence[Row]) -> None:
    print("\n| type | importance | data | ggml, Mweights per CPU s | edgec | ratio (lowest round) | of bandwidth |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r.type} | {'yes' if r.importance else 'no'} | {r.data} | {r.ggml_mweights_per_s:.1f} "
            f"| {r.lanes_mweights_per_s:.1f} | {r.ratio:.1f} ({r.lowest_ratio:.1f}) "
            f"| {r.share_of_memory_bandwidth:.1%} |"
        )


def _print_slabs(rows: Sequence[SlabRow]) -> None:
    print("\n| type | widened before, Mweights per CPU s | by chunks | share of bandwidth |\n|---|---|---|---|")
    for r in rows:
        before, chunks = r.widened_before_mweights_per_s, r.by_chunks_mweights_per_s
        print(f"| {r.type} | {before:.1f} | {chunks:.1f} | {r.share_of_memory_bandwidth:.1%} |")


def main() -> None:
    """Measure what the command line asks for."""
    labels = sorted(str(t.label) for t in registry.KERNELS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", nargs="+", default=labels, choices=labels)
    parser.add_argument("--data", nargs="+", default=["normal"], choices=list(_DATA))
    parser.add_argument("--slabs", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    copy = memory_bandwidth(options.rounds)
    types = [t for t in registry.KERNELS if t.label in options.types]
    rows = []
    for data in options.data:
        for tensor_type in types:
            for with_importance in (False, True):
                rows.append(
                    measure(tensor_type, data, with_importance=with_importance, rounds=options.rounds, copy=copy)
                )
                print(f"{rows[-1].type} {data} {rows[-1].ratio:.1f}", file=sys.stderr)
    slabs = [measure_slabs(t, options.rounds, copy) for t in types] if options.slabs else []
    facts: dict[str, object] = {name: version(name) for name in ("xllamacpp", "numba", "numpy")}
    facts |= {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    facts |= {"load": round(os.getloadavg()[0], 1), "memory copy GB per CPU s": round(copy / 1e9, 1)}
    print(", ".join(f"{name}: {value}" for name, value in facts.items()))
    _print_rows(rows)
    if slabs:
        _print_slabs(slabs)
    if options.json:
        found = {"facts": facts, "rows": [asdict(r) for r in rows], "slabs": [asdict(r) for r in slabs]}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
