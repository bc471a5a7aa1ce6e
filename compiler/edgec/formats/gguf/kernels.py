"""Which code quantizes: ggml, or for many Q4_K weights the vectorized search with the same bytes.

Rule: a kernel is only used after its bytes were compared with ggml's on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf import ggml
from edgec.formats.gguf.layout import TensorPlan
from edgec.formats.gguf.slabs import Quantize
from edgec.formats.gguf.types import TensorType

# ggml needs 5 CPU seconds for so many; below that, loading (and once compiling) the other kernel does not pay.
_MANY_ELEMENTS = 64 << 20


def choose_quantize(tensors: Iterable[TensorPlan], importance: Mapping[str, object]) -> Quantize:
    """The function that quantizes `tensors`; those in `importance` have an importance matrix."""
    elements = sum(t.elements for t in tensors if t.type is TensorType.Q4_K and t.name not in importance)
    if elements < _MANY_ELEMENTS:
        return ggml.quantize
    from edgec.formats.gguf import q4k_lanes  # noqa: PLC0415  # numba takes 60 MB and 0.3 s: not for small models

    return _with_lanes(q4k_lanes.quantize) if q4k_lanes.agrees_with_ggml() else ggml.quantize


def _with_lanes(fast: Callable[[NDArray[np.float32], NDArray[np.uint8]], None]) -> Quantize:
    def quantize(
        tensor_type: TensorType,
        values: NDArray[np.float32],
        out: NDArray[np.uint8],
        importance: NDArray[np.float32] | None,
    ) -> None:
        if tensor_type is TensorType.Q4_K and importance is None:
            fast(values, out)
        else:
            ggml.quantize(tensor_type, values, out, importance)

    return quantize
