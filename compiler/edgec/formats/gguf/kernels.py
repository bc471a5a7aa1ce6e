"""Which code quantizes: ggml, or for types and sizes where it pays the vectorized searches with the same bytes.

Rule: a kernel is only used after its bytes were compared with ggml's on this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgec.events import Note, Reporter
from edgec.formats.gguf import ggml
from edgec.formats.gguf.layout import TensorPlan
from edgec.formats.gguf.slabs import Quantize
from edgec.formats.gguf.types import TensorType

# A type, and whether the tensor has an importance matrix.
_Key = tuple[TensorType, bool]

# What ggml needs for a weight on one core, in nanoseconds (benchmarks/kernels, rounded): only to tell whether loading,
# and once compiling, another kernel pays. Types that are not here are ggml's.
_GGML_NS: Mapping[_Key, int] = MappingProxyType(
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
    seconds: dict[_Key, float] = {}
    for tensor in tensors:
        key = (tensor.type, tensor.name in importance)
        seconds[key] = seconds.get(key, 0.0) + tensor.elements * _GGML_NS.get(key, 0) / 1e9
    if sum(seconds.values()) < _MANY_SECONDS:
        return ggml.quantize
    return _with_lanes([key for key, needed in seconds.items() if needed >= _SOME_SECONDS], report)


def _with_lanes(keys: Iterable[_Key], report: Reporter) -> Quantize:
    from edgec.formats.gguf.lanes import compiled, registry  # noqa: PLC0415  # numba takes 100 MB and 0.5 s

    if not compiled.has_compiled_code():
        report(Note("compiling the quantization kernels for this processor: a few seconds, once"))
    trusted: set[_Key] = set()
    for tensor_type, with_importance in keys:
        if registry.agrees_with_ggml(tensor_type, with_importance=with_importance):
            trusted.add((tensor_type, with_importance))
        else:
            kind = "with" if with_importance else "without"
            text = f"{tensor_type.label} {kind} an importance matrix: the quick kernel has other bytes than ggml here"
            report(Note(f"{text}; ggml is used, slower", level="warning"))

    def quantize(
        tensor_type: TensorType,
        values: NDArray[np.float32],
        out: NDArray[np.uint8],
        importance: NDArray[np.float32] | None,
    ) -> None:
        chosen = (tensor_type, importance is not None) in trusted
        (registry.quantize if chosen else ggml.quantize)(tensor_type, values, out, importance)

    return quantize
