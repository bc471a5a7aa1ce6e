"""Digests of what the kernels and ggml make of fixed samples; run as a script it prints them, on any platform.

Rule: samples are made of whole numbers by operations that IEEE 754 rounds in one way only, so that every platform has
the same ones (numpy's normal numbers come by the platform's logarithm); their digests are printed too.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from numpy.typing import NDArray

if "NUMBA_CPU_NAME" in os.environ:
    # numba makes its code generator once: here for that processor, before edgec asks for this one's widest vectors.
    cpu_target.target_context.codegen()

from edgec.errors import ToolError
from edgec.formats.gguf import ggml
from edgec.formats.gguf.lanes import registry
from edgec.formats.gguf.types import TensorType

Values = NDArray[np.float32]
Shape = tuple[int, int]
Rng = np.random.Generator

# Rows of one block, of several and of many, that fill more than one tile and leave a part of the last.
_SHAPES: Mapping[int, tuple[Shape, ...]] = {
    256: ((17, 256), (7, 768), (3, 2048)),
    32: ((141, 32), (29, 160), (5, 1024)),
}
TYPES = tuple(t for t in TensorType if t.is_quantized)
# Multiplications and additions that round once, on x86-64 and on aarch64.
_FUSED = re.compile(r"^\s+(vfn?m(?:add|sub)\w*|fn?m(?:add|sub|la|ls)\w*)\s", re.MULTILINE)
_REGISTERS = re.compile(r"%([xyz]mm)\d")


def _bell(rng: Rng, shape: Shape) -> Values:
    """Nearly normal numbers, of standard deviation 0.6 and at most 2."""
    sums = rng.integers(-(1 << 15), 1 << 15, (4, *shape)).sum(axis=0)
    return np.ldexp(sums.astype(np.float32), -16)


def _power(rng: Rng, shape: Shape, low: int, high: int) -> Values:
    """Powers of two from 2^low to 2^high."""
    return np.ldexp(np.float32(1), rng.integers(low, high + 1, shape)).astype(np.float32)


def _heavy(rng: Rng, shape: Shape) -> Values:
    return _bell(rng, shape) / rng.integers(1, 200, shape).astype(np.float32)


def _mostly(rng: Rng, shape: Shape, fill: float) -> Values:
    return np.where(rng.integers(0, 100, shape) < 97, np.float32(fill), _bell(rng, shape))


def _outliers(rng: Rng, shape: Shape, factor: float) -> Values:
    return _bell(rng, shape) * np.where(rng.integers(0, 500, shape) == 0, np.float32(factor), np.float32(0.02))


def _groups(rng: Rng, shape: Shape, group: int, low: int, high: int) -> Values:
    powers = np.repeat(_power(rng, (shape[0] * shape[1] // group, 1), low, high), group, axis=1)
    return _bell(rng, shape) * powers.reshape(shape)


_KINDS: Mapping[str, Callable[[Rng, Shape], Values]] = {
    "normal": lambda r, s: _bell(r, s) * np.float32(0.03),
    "heavy-tailed": _heavy,
    "bfloat16": lambda r, s: (_bell(r, s).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32),
    "sparse": lambda r, s: _mostly(r, s, 0.0),
    "mostly minus zero": lambda r, s: _mostly(r, s, -0.0),
    "mostly one number": lambda r, s: _mostly(r, s, -0.3),
    "constant": lambda _, s: np.full(s, -0.7, np.float32),
    "zero": lambda _, s: np.zeros(s, np.float32),
    "denormal": lambda r, s: np.ldexp(r.integers(-9, 10, s).astype(np.float32), -149),
    "squares are denormal": lambda r, s: np.ldexp(_bell(r, s), -66),
    "tiny": lambda r, s: np.ldexp(_bell(r, s), -50),
    "huge": lambda r, s: np.ldexp(_bell(r, s), 13),
    "positive": lambda r, s: np.abs(_bell(r, s)),
    "negative": lambda r, s: -np.abs(_heavy(r, s)),
    "far from zero": lambda r, s: _bell(r, s) * np.float32(0.01) - np.float32(3),
    "outliers": lambda r, s: _outliers(r, s, 1),
    "huge outliers": lambda r, s: _outliers(r, s, 3e4),
    "few values": lambda r, s: r.integers(-2, 3, s).astype(np.float32) * np.float32(0.1),
    "halves": lambda r, s: r.integers(-31, 32, s).astype(np.float32) * np.float32(0.5),
    "groups of 32": lambda r, s: _groups(r, s, 32, -30, 12),
    "groups of 16": lambda r, s: _groups(r, s, 16, -16, 10),
    "elements of any size": lambda r, s: _groups(r, s, 1, -60, 10),
}
_IMPORTANCES: Mapping[str, Callable[[Rng, int], Values]] = {
    "varied": lambda r, n: r.integers(1, 1 << 20, n).astype(np.float32) / r.integers(1, 1 << 10, n).astype(np.float32),
    "half zero": lambda r, n: (r.integers(0, 2, n) * r.integers(1, 100, n)).astype(np.float32),
    "wide": lambda r, n: _power(r, (1, n), -60, 30)[0],
}


@dataclass(frozen=True)
class Case:
    """One sample for one type. `importance`: one number per column, or None."""

    name: str
    type: TensorType
    values: Values
    importance: Values | None


def cases() -> Iterator[Case]:
    """Every type, with and without importance, every kind of sample and row length."""
    for tensor_type in TYPES:
        for number, (kind, make) in enumerate(_KINDS.items()):
            for shape in _SHAPES[tensor_type.block_elements]:
                rng = np.random.default_rng([number, *shape])
                values = np.ascontiguousarray(make(rng, shape), np.float32)
                name = f"{tensor_type.label}, {kind}, {shape[0]} x {shape[1]}"
                yield Case(name, tensor_type, values, None)
                for title, weigh in _IMPORTANCES.items():
                    yield Case(f"{name}, {title} importance", tensor_type, values, weigh(rng, shape[1]))


def _digest(quantize: Callable[[TensorType, Values, NDArray[np.uint8], Values | None], None], case: Case) -> str:
    rows, columns = case.values.shape
    out = np.zeros(rows * case.type.row_bytes(columns), np.uint8)
    try:
        quantize(case.type, case.values, out, case.importance)
    except ToolError:
        return "refused"
    return hashlib.sha256(out.tobytes()).hexdigest()


def input_digests() -> dict[str, str]:
    """By case: of the values and the importance."""
    weights = ((c, b"" if c.importance is None else c.importance.tobytes()) for c in cases())
    return {c.name: hashlib.sha256(c.values.tobytes() + w).hexdigest() for c, w in weights}


def ggml_digests() -> dict[str, str]:
    """By case: of what ggml makes of it."""
    return {c.name: _digest(ggml.quantize, c) for c in cases()}


def kernel_digests() -> dict[str, str]:
    """By case: of what the type's kernel makes of it."""
    return {c.name: _digest(registry.quantize, c) for c in cases()}


def inspect_code() -> dict[str, list[str]]:
    """Of the code compiled in this process (not loaded): its functions, fused instructions and vector registers."""
    modules = [m for name, m in sys.modules.items() if name.startswith("edgec.formats.gguf.lanes.")]
    functions = {f for m in modules for f in vars(m).values() if isinstance(f, Dispatcher)}
    code = {f"{f.__name__}{s}": text for f in functions for s, text in f.inspect_asm().items()}
    found = {"functions": set(code), "fused": set(), "registers": set()}
    for text in code.values():
        found["fused"].update(_FUSED.findall(text))
        found["registers"].update(_REGISTERS.findall(text))
    return {what: sorted(names) for what, names in found.items()}


def main() -> None:
    """Print all digests as JSON; `--code`: and what the code looks like, for which EDGEC_CACHE must be empty."""
    report = {"input": input_digests(), "ggml": ggml_digests(), "kernel": kernel_digests()}
    if "--code" in sys.argv[1:]:
        report["code"] = inspect_code()
    json.dump({"machine": platform.machine(), **report}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
