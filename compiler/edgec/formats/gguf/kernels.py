"""Which code quantizes: ggml, or the vectorized kernels with the bytes that ggml has on x86-64.

Rule: a kernel is only used after a sample had these bytes on this machine. Where ggml itself has other bytes the
kernels quantize whatever the size, so that every machine builds the same files; elsewhere where it pays.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from edgec.events import Note, Reporter
from edgec.formats.gguf import ggml
from edgec.formats.gguf.layout import TensorPlan
from edgec.formats.gguf.source_rows import Bytes, Floats, Quantize, SourceRows, by_chunks
from edgec.formats.gguf.types import TensorType

# A type, and whether the tensor has an importance matrix.
Key = tuple[TensorType, bool]

# What ggml needs for a weight on one core, in nanoseconds (benchmarks/kernels, rounded): only to tell whether loading,
# and once compiling, another kernel pays.
_GGML_NS: Mapping[Key, int] = MappingProxyType(
    {
        (TensorType.Q2_K, False): 50,
        (TensorType.Q2_K, True): 120,
        (TensorType.Q3_K, False): 10,
        (TensorType.Q3_K, True): 35,
        (TensorType.Q4_K, False): 60,
        (TensorType.Q4_K, True): 110,
        (TensorType.Q5_K, False): 50,
        (TensorType.Q5_K, True): 110,
        (TensorType.Q6_K, False): 27,
        (TensorType.Q6_K, True): 27,
        (TensorType.IQ4_NL, False): 290,
        (TensorType.IQ4_NL, True): 290,
        (TensorType.IQ4_XS, False): 290,
        (TensorType.IQ4_XS, True): 290,
        (TensorType.Q4_0, False): 2,
        (TensorType.Q4_0, True): 25,
        (TensorType.Q5_0, False): 3,
        (TensorType.Q5_0, True): 25,
        (TensorType.Q4_1, False): 2,
        (TensorType.Q4_1, True): 105,
        (TensorType.Q5_1, False): 2,
        (TensorType.Q5_1, True): 105,
        (TensorType.Q8_0, False): 3,
        (TensorType.Q8_0, True): 3,
    }
)
QUANTIZE_BY_GGML: Quantize = by_chunks(ggml.quantize)

# Seconds of ggml's time below which its kernel stays: of all types together, and of one.
_MANY_SECONDS, _SOME_SECONDS = 5.0, 1.0


def choose_quantize(
    tensors: Iterable[TensorPlan],
    importance: Mapping[str, object],
    report: Reporter,
    *,
    machine: str = platform.machine(),
) -> Quantize:
    """The function that quantizes `tensors` on `machine`; those in `importance` have an importance matrix."""
    seconds: dict[Key, float] = {}
    for tensor in tensors:
        if tensor.type.is_quantized:
            key = (tensor.type, tensor.name in importance)
            seconds[key] = seconds.get(key, 0.0) + tensor.elements * _GGML_NS[key] / 1e9
    if machine not in ggml.REFERENCE_MACHINES and seconds:
        return _with_lanes(seconds, report)
    if sum(seconds.values()) < _MANY_SECONDS:
        return QUANTIZE_BY_GGML
    return _with_lanes([key for key, needed in seconds.items() if needed >= _SOME_SECONDS], report)


def _with_lanes(keys: Iterable[Key], report: Reporter) -> Quantize:
    try:
        from edgec.formats.gguf.lanes import compiled, registry  # noqa: PLC0415  # numba takes 100 MB and 0.5 s
    except ImportError as error:
        report(Note(f"numba cannot be loaded ({error}): ggml quantizes, slower", level="warning"))
        return QUANTIZE_BY_GGML
    if not compiled.has_compiled_code():
        report(Note("compiling the quantization kernels for this processor: a few seconds, once"))
    trusted = trusted_keys(keys, lambda key: registry.makes_known_bytes(key[0], with_importance=key[1]), report)
    quantize_by_lanes = by_chunks(registry.quantize)

    def quantize(tensor_type: TensorType, rows: SourceRows, out: Bytes, weights: Floats | None) -> None:
        chosen = (tensor_type, weights is not None) in trusted
        (quantize_by_lanes if chosen else QUANTIZE_BY_GGML)(tensor_type, rows, out, weights)

    return quantize


def trusted_keys(keys: Iterable[Key], agrees: Callable[[Key], bool], report: Reporter) -> frozenset[Key]:
    """Those of `keys` whose kernels make the known bytes; a warning names the others."""
    trusted = set()
    for key in keys:
        if agrees(key):
            trusted.add(key)
            continue
        kind = f"{key[0].label} {'with' if key[1] else 'without'} an importance matrix"
        text = f"{kind}: the quick kernel does not make the known bytes here; ggml is used, slower"
        report(Note(text, level="warning"))
    return frozenset(trusted)
