"""Rounding as ggml and the x86-64 processor round, also where numbers are too large, infinite or not numbers at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from edgec.formats.gguf.lanes.compiled import ZERO, compiled
from edgec.formats.gguf.lanes.vector import choose, masked

# Adding 1.5 * 2^23 leaves a number below 2^22, rounded to the nearest even integer, in the 23 low bits, plus 2^22.
# ggml's nearest_int takes these bits whatever was added: the mask and the exponent of 2^23 do the same in lanes.
_ROUND = np.float32(12582912.0)
_EXPONENT = np.int32(0x4B000000)
_LOW_BITS, _LOW_BYTE = np.int32(0x7FFFFF), np.int32(0xFF)
_MAGNITUDE_BITS, _NO_BITS = np.int32(0x7FFFFFFF), np.int32(0)
_TWO_23 = np.float32(8388608.0)
# A conversion to int32 that fails gives -2^31 on x86-64: its low byte is 0.
_TOO_LARGE = np.float32(2.0**31)
# 2^112: moves the exponents of half precision to those of single precision.
_HALF_BIAS = np.float32(2.0**112)
_HALF_MAX = np.int32(0x7C00)


def _bitcast(kind: Any, result: Any, value: Any) -> Any:
    def generate(_compiler: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], kind)

    return result(value), generate


@intrinsic  # type: ignore[untyped-decorator]
def to_bits(_context: Any, _value: Any) -> Any:
    """The bits of a float32 as int32."""
    return _bitcast(ir.IntType(32), types.int32, types.float32)


@intrinsic  # type: ignore[untyped-decorator]
def from_bits(_context: Any, _value: Any) -> Any:
    """The float32 of an int32's bits."""
    return _bitcast(ir.FloatType(), types.float32, types.int32)


@compiled
def nearest(value):  # type: ignore[no-untyped-def]
    """nearest_int: the nearest even integer, whatever it is for numbers of 2^22 and more."""
    return (to_bits(value + _ROUND) & _LOW_BITS) - np.int32(0x400000)


@compiled
def nearest_level(values, low, high):  # type: ignore[no-untyped-def]
    """`nearest` of lanes as numbers, kept in low..high (float32)."""
    rounded = masked(values + _ROUND, _LOW_BITS, _EXPONENT)
    low, high = low + _ROUND, high + _ROUND
    rounded = choose(rounded < low, low, rounded)
    rounded = choose(rounded > high, high, rounded)
    return rounded - _ROUND


@compiled
def nearest_bounded(values, high):  # type: ignore[no-untyped-def]
    """The nearest even integer of lanes as numbers, kept in 0..high before it is rounded; 0 for what is no number."""
    # In this order, which is one instruction each: what is no number is not above 0.
    values = choose(values > ZERO, values, ZERO)
    values = choose(values < high, values, high)
    return (values + _ROUND) - _ROUND


@compiled
def low_byte(levels):  # type: ignore[no-untyped-def]
    """What an 8-bit variable holds of whole numbers below 2^22 in lanes."""
    return masked(levels + _ROUND, _LOW_BYTE, _EXPONENT) - _TWO_23


@compiled
def magnitude(x):  # type: ignore[no-untyped-def]
    """|x| of lanes."""
    return masked(x, _MAGNITUDE_BITS, _NO_BITS)


@compiled
def castable(values):  # type: ignore[no-untyped-def]
    """The values, 0 for what no int32 holds: casts of that to 8-bit types give 0 on x86-64."""
    return choose(magnitude(values) < _TOO_LARGE, values, ZERO)


@compiled
def to_half(value):  # type: ignore[no-untyped-def]
    """The bits of the nearest half-precision number (uint16); of infinity for what is too large or no number."""
    bits = to_bits(value)
    magnitude = bits & np.int32(0x7FFFFFFF)
    if magnitude < np.int32(0x38800000):
        # Below 2^-14 halves are multiples of 2^-24, as are numbers from 0.5 on.
        half = to_bits(from_bits(magnitude) + np.float32(0.5)) - np.int32(0x3F000000)
    else:
        half = (magnitude + np.int32(0xFFF) + ((magnitude >> np.int32(13)) & np.int32(1))) >> np.int32(13)
        half = min(half - np.int32(0x1C000), _HALF_MAX)
    return np.uint16(half | ((bits >> np.int32(16)) & np.int32(0x8000)))


@compiled
def from_half(half):  # type: ignore[no-untyped-def]
    """The float32 of the bits (uint16) of a finite half-precision number."""
    magnitude = from_bits((np.int32(half) & np.int32(0x7FFF)) << np.int32(13)) * _HALF_BIAS
    return from_bits(to_bits(magnitude) | ((np.int32(half) & np.int32(0x8000)) << np.int32(16)))


@compiled
def is_finite_half(half):  # type: ignore[no-untyped-def]
    """Whether the bits (uint16) are those of a finite half-precision number."""
    return (np.int32(half) & np.int32(0x7FFF)) < _HALF_MAX
