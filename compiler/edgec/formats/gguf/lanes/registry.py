"""Which types have kernels here, with and without an importance matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf.lanes import iq4, k_affine, k_symmetric, small
from edgec.formats.gguf.lanes.blocks import Rows
from edgec.formats.gguf.types import TensorType

_Quantizer = Callable[[Rows], None]

_K: Mapping[TensorType, _Quantizer] = {
    TensorType.Q2_K: k_affine.quantize,
    TensorType.Q3_K: k_symmetric.quantize_q3_k,
    TensorType.Q4_K: k_affine.quantize,
    TensorType.Q5_K: k_affine.quantize,
    TensorType.Q6_K: k_symmetric.quantize_q6_k,
    TensorType.IQ4_NL: iq4.quantize_iq4_nl,
    TensorType.IQ4_XS: iq4.quantize_iq4_xs,
}
_SMALL: Mapping[TensorType, _Quantizer] = {
    TensorType.Q4_0: small.quantize_symmetric,
    TensorType.Q5_0: small.quantize_symmetric,
    TensorType.Q4_1: small.quantize_affine,
    TensorType.Q5_1: small.quantize_affine,
}

# (type, with an importance matrix) -> its quantizer.
KERNELS: Mapping[tuple[TensorType, bool], _Quantizer] = MappingProxyType(
    {(t, i): q for t, q in _K.items() for i in (False, True)} | {(t, True): q for t, q in _SMALL.items()}
)


def quantize(
    tensor_type: TensorType,
    values: NDArray[np.float32],
    out: NDArray[np.uint8],
    importance: NDArray[np.float32] | None,
) -> None:
    """`ggml.quantize` by the kernel of this type. Raises KeyError when there is none."""
    KERNELS[tensor_type, importance is not None](Rows(tensor_type, values, out, importance))
