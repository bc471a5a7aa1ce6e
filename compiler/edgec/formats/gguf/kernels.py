"""Which code quantizes: ggml, or for types and sizes where it pays the vectorized searches with the same bytes.

Rule: a kernel is only used after its bytes were compared with ggml's on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgec.events import Note, Reporter
from edgec.formats.gguf import ggml
from edgec.formats.gguf.layout import TensorPlan
from edgec.formats.gguf.slabs import Quantize
from edgec.formats.gguf.types import TensorType

# A type, and whether the tensor has an importance matrix.
Key = tuple[TensorType, bool]

# What ggml needs for a weight on one core, in nanoseconds (benchmarks/kernels, rounded): only to tell whether loading,
# and once compiling, another kernel pays. Types that are not here are ggml's.
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
        (TensorType.Q4_0, True): 25,
        (TensorType.Q5_0, True): 25,
        (TensorType.Q4_1, True): 105,
        (TensorType.Q5_1, True): 105,
    }
)
# Seconds of ggml's time below which its kernel stays: of all types together, and of one.
_MANY_SECONDS, _SOME_SECONDS = 5.0, 1.0


def choose_quantize(tensors: Iterable[TensorPlan], importance: Mapping[str, object], report: Reporter) -> Quantize:
    """The function that quantizes `tensors`; those in `importance` have an importance matrix."""
    seconds: dict[Key, float] = {}
    for tensor in tensors:
        key = (tensor.type, tensor.name in importance)
        seconds[key] = seconds.get(key, 0.0) + tensor.elements * _GGML_NS.get(key, 0) / 1e9
    if sum(seconds.values()) < _MANY_SECONDS:
        return ggml.quantize
    return _with_lanes([key for key, needed in seconds.items() if needed >= _SOME_SECONDS], report)


def _with_lanes(keys: Iterable[Key], report: Reporter) -> Quantize:
    try:
        from edgec.formats.gguf.lanes import compiled, registry  # noqa: PLC0415  # numba takes 100 MB and 0.5 s
    except ImportError as error:
        report(Note(f"numba cannot be loaded ({error}): ggml quantizes, slower", level="warning"))
        return ggml.quantize
    if not compiled.has_compiled_code():
        report(Note("compiling the quantization kernels for this processor: a few seconds, once"))
    trusted = trusted_keys(keys, lambda key: registry.agrees_with_ggml(key[0], with_importance=key[1]), report)

    def quantize(
        tensor_type: TensorType,
        values: NDArray[np.float32],
        out: NDArray[np.uint8],
        importance: NDArray[np.float32] | None,
    ) -> None:
        chosen = (tensor_type, importance is not None) in trusted
        (registry.quantize if chosen else ggml.quantize)(tensor_type, values, out, importance)

    return quantize


def trusted_keys(keys: Iterable[Key], agrees: Callable[[Key], bool], report: Reporter) -> frozenset[Key]:
    """Those of `keys` whose kernels agree with ggml; a warning names the others."""
    trusted = set()
    for key in keys:
        if agrees(key):
            trusted.add(key)
            continue
        kind = f"{key[0].label} {'with' if key[1] else 'without'} an importance matrix"
        text = f"{kind}: the quick kernel has other bytes than ggml here; ggml is used, slower"
        report(Note(text, level="warning"))
    return frozenset(trusted)
