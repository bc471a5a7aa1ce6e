"""The arithmetic of the formats: FP16, packed nibbles, and the weight-only quantization that `trtllm-build` does.

Rule: bit for bit what TensorRT-LLM computes (symmetric_quantize in cutlass_preprocessors.cpp), on rows of output
channels; nothing becomes infinite unnoticed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgec.errors import InputError

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]

_LARGEST_HALF = 65504.0


def to_half(values: Floats, name: str) -> Halves:
    """`values` in FP16. Raises InputError when one is beyond its range: BF16 goes further."""
    if values.size and max(float(values.max()), -float(values.min())) > _LARGEST_HALF:
        raise InputError.of(
            f"a value of {float(np.abs(values).max()):g} does not fit FP16, whose largest is {_LARGEST_HALF:g}",
            place=name,
            hint="this model needs BF16, which TensorRT-LLM checkpoints of edgec do not have: choose another format",
        )
    return values.astype(np.float16)


def pack_nibbles(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Codes (rows, columns) from -8 to 7 as (rows / 2, columns): even rows in the low halves, odd ones in the high."""
    bits = codes.view(np.uint8)
    return ((bits[0::2] & 0x0F) | (bits[1::2] << 4)).view(np.int8)


def unpack_nibbles(packed: NDArray[np.int8]) -> NDArray[np.int8]:
    """The codes (rows, columns) of packed bytes (rows / 2, columns)."""
    out = np.empty((2 * packed.shape[0], packed.shape[1]), np.int8)
    # A shift to the right of a signed byte keeps the sign.
    np.right_shift(np.left_shift(packed, 4), 4, out=out[0::2])
    np.right_shift(packed, 4, out=out[1::2])
    return out


def weight_only(values: Halves, bits: int) -> Halves:
    """What a weight-only engine multiplies with, in place of `values` (output channels, input channels).

    One scale per output channel: the largest magnitude over 2^(bits - 1), kept in FP16; codes are rounded half away
    from zero with the unrounded scale, and cut to the range.
    """
    rows = values.astype(np.float32)
    levels = np.float32(1 << (bits - 1))
    scales = np.abs(rows).max(axis=1, keepdims=True) / levels
    rows /= np.where(scales == 0, np.float32(1), scales)
    codes = _round_away(rows)
    np.clip(codes, -levels, levels - 1, out=codes)
    codes *= scales.astype(np.float16).astype(np.float32)
    return codes.astype(np.float16)


def _round_away(values: Floats) -> Floats:
    """C's `round`: exact in float32, where adding a half first is not."""
    whole = np.trunc(values)
    rest = np.subtract(values, whole, out=values)
    whole += rest >= 0.5
    whole -= rest <= -0.5
    return whole


def dequantize_groups(codes: NDArray[np.int8], scales: Floats) -> Halves:
    """Codes (rows, columns) times scales (rows, groups), which the build makes FP16 before."""
    halves = scales.astype(np.float16).astype(np.float32)
    grouped = codes.reshape(codes.shape[0], scales.shape[1], -1).astype(np.float32)
    grouped *= halves[:, :, None]
    return grouped.reshape(codes.shape).astype(np.float16)


def dequantize_channels(codes: NDArray[np.int8], scales: Floats) -> Halves:
    """Codes (rows, columns) times scales (rows,), FP32 as the engine has them."""
    return (codes.astype(np.float32) * scales[:, None]).astype(np.float16)
