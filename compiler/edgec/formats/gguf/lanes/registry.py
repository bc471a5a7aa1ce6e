"""The kernels of all quantized types, with and without an importance matrix, and whether they do what ggml does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf import ggml
from edgec.formats.gguf.lanes import iq4, k_affine, k_symmetric, known, small
from edgec.formats.gguf.lanes.blocks import Rows, are_zeros
from edgec.formats.gguf.types import TensorType

# Whether all numbers in the bytes are finite.
_Quantizer = Callable[[Rows], bool]

# Each with and without an importance matrix.
KERNELS: Mapping[TensorType, _Quantizer] = MappingProxyType(
    {
        TensorType.Q2_K: k_affine.quantize,
        TensorType.Q3_K: k_symmetric.quantize_q3_k,
        TensorType.Q4_K: k_affine.quantize,
        TensorType.Q5_K: k_affine.quantize,
        TensorType.Q6_K: k_symmetric.quantize_q6_k,
        TensorType.IQ4_NL: iq4.quantize_iq4_nl,
        TensorType.IQ4_XS: iq4.quantize_iq4_xs,
        TensorType.Q4_0: small.quantize_symmetric,
        TensorType.Q5_0: small.quantize_symmetric,
        TensorType.Q4_1: small.quantize_affine,
        TensorType.Q5_1: small.quantize_affine,
        TensorType.Q8_0: small.quantize_q8_0,
    }
)


def quantize(
    tensor_type: TensorType,
    values: NDArray[np.float32],
    out: NDArray[np.uint8],
    importance: NDArray[np.float32] | None,
) -> None:
    """`ggml.quantize` by the kernel of this type, which every quantized type has. Raises ToolError as that does."""
    if are_zeros(values.reshape(-1)) and len(values) > 1:
        # Then all rows are alike, and the first one is enough.
        quantize(tensor_type, values[:1], out[: out.size // len(values)], importance)
        out.reshape(len(values), -1)[1:] = out[: out.size // len(values)]
    elif not KERNELS[tensor_type](Rows(tensor_type, values, out, importance)):
        raise ggml.no_valid_data(tensor_type)


def makes_known_bytes(tensor_type: TensorType, *, with_importance: bool) -> bool:
    """Whether a sample has the bytes that ggml has on x86-64; the first call compiles."""
    expected = known.stored_digests()[known.key_of(tensor_type, with_importance)]
    return known.digest(quantize, tensor_type, with_importance=with_importance) == expected
