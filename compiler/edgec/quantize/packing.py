"""Codes of 4 bits in 32-bit words, as the AWQ, GPTQ and modelopt layouts order them.

Rule: every function works on part of a matrix as on the whole; `pack_*` and `unpack_*` are exact inverses.
Codes are unsigned (0..15) and stand as (output channels, input channels), whatever the layout's own order is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
Words = NDArray[np.int32]

PER_WORD = 8
# AutoAWQ's GEMM kernel: the nibble k of a word (from the lowest bits) belongs to this one of the word's 8 channels.
_AWQ_CHANNEL = (0, 2, 4, 6, 1, 3, 5, 7)


def unpack_awq(words: Words) -> Codes:
    """(inputs, outputs / 8) words, or (groups, outputs / 8) zero points, as codes (outputs, inputs or groups)."""
    rows, columns = words.shape
    codes = np.empty((columns, PER_WORD, rows), np.uint8)
    bits = np.ascontiguousarray(words.T).view(np.uint32)
    for k, channel in enumerate(_AWQ_CHANNEL):
        codes[:, channel] = (bits >> np.uint32(4 * k)) & np.uint32(15)
    return codes.reshape(columns * PER_WORD, rows)


def pack_awq(codes: Codes) -> Words:
    """Codes (outputs, inputs) as (inputs, outputs / 8) words."""
    outputs, inputs = codes.shape
    grouped = codes.reshape(outputs // PER_WORD, PER_WORD, inputs)
    bits = np.zeros((outputs // PER_WORD, inputs), np.uint32)
    for k, channel in enumerate(_AWQ_CHANNEL):
        bits |= grouped[:, channel].astype(np.uint32) << np.uint32(4 * k)
    return np.ascontiguousarray(bits.T).view(np.int32)


def unpack_gptq(words: Words) -> Codes:
    """(inputs / 8, outputs) words as codes (outputs, inputs)."""
    rows, columns = words.shape
    codes = np.empty((columns, rows, PER_WORD), np.uint8)
    bits = np.ascontiguousarray(words.T).view(np.uint32)
    for k in range(PER_WORD):
        codes[:, :, k] = (bits >> np.uint32(4 * k)) & np.uint32(15)
    return codes.reshape(columns, rows * PER_WORD)


def pack_gptq(codes: Codes) -> Words:
    """Codes (outputs, inputs) as (inputs / 8, outputs) words."""
    outputs, inputs = codes.shape
    grouped = codes.reshape(outputs, inputs // PER_WORD, PER_WORD)
    bits = np.zeros((outputs, inputs // PER_WORD), np.uint32)
    for k in range(PER_WORD):
        bits |= grouped[:, :, k].astype(np.uint32) << np.uint32(4 * k)
    return np.ascontiguousarray(bits.T).view(np.int32)


def unpack_gptq_zeros(words: Words) -> Codes:
    """(groups, outputs / 8) stored zero points as codes (outputs, groups)."""
    rows, columns = words.shape
    codes = np.empty((columns, PER_WORD, rows), np.uint8)
    bits = np.ascontiguousarray(words.T).view(np.uint32)
    for k in range(PER_WORD):
        codes[:, k] = (bits >> np.uint32(4 * k)) & np.uint32(15)
    return codes.reshape(columns * PER_WORD, rows)


def pack_gptq_zeros(codes: Codes) -> Words:
    """Stored zero points (outputs, groups) as (groups, outputs / 8) words."""
    outputs, groups = codes.shape
    grouped = codes.reshape(outputs // PER_WORD, PER_WORD, groups)
    bits = np.zeros((outputs // PER_WORD, groups), np.uint32)
    for k in range(PER_WORD):
        bits |= grouped[:, k].astype(np.uint32) << np.uint32(4 * k)
    return np.ascontiguousarray(bits.T).view(np.int32)


def unpack_modelopt(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """(outputs / 2, inputs) bytes, even channels in the low bits, as signed codes (outputs, inputs)."""
    rows, columns = packed.shape
    codes = np.empty((rows, 2, columns), np.int8)
    signed = packed.view(np.int8)
    codes[:, 0] = (signed << 4) >> 4
    codes[:, 1] = signed >> 4
    return codes.reshape(rows * 2, columns)
