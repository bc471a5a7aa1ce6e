"""How levels and 4- and 6-bit indices lie in ggml's blocks. All arrays are uint8.

`out` (blocks, bytes of a block); `at`: where in a block the first byte goes.
"""

from __future__ import annotations

import numpy as np

from edgec.formats.gguf.lanes.compiled import compiled

# Bytes packed at a time: `half` is a multiple.
_RUN = 16


@compiled
def pack_nibbles(levels, half, out, at):  # type: ignore[no-untyped-def]
    """Low 4 bits of `half` levels, with those of the next `half` above them; for every 2 * half levels of a row."""
    for b in range(levels.shape[0]):
        for run in range(levels.shape[1] // (2 * _RUN)):
            first = run * _RUN
            low_at = first + first // half * half
            # A fixed number of rounds, or the compiler's vectors are wider than most groups; slices, because it cannot
            # tell of a sum that it is no index from the end.
            low, high = levels[b, low_at : low_at + _RUN], levels[b, low_at + half : low_at + half + _RUN]
            packed = out[b, at + first : at + first + _RUN]
            for i in range(_RUN):
                packed[i] = (low[i] & 15) | (high[i] & 15) << 4


@compiled
def pack_pairs(levels, bit, out, at):  # type: ignore[no-untyped-def]
    """2 bits from bit `bit` on of four runs of 32 levels in one run of bytes, for every 128 levels of a row."""
    for b in range(levels.shape[0]):
        for group in range(levels.shape[1] // 128):
            runs = levels[b, 128 * group : 128 * group + 128]
            packed = out[b, at + 32 * group : at + 32 * group + 32]
            for i in range(32):
                low = ((runs[i] >> bit) & 3) | ((runs[i + 32] >> bit) & 3) << 2
                high = ((runs[i + 64] >> bit) & 3) | ((runs[i + 96] >> bit) & 3) << 2
                packed[i] = low | high << 4


@compiled
def pack_planes(levels, bit, out, at):  # type: ignore[no-untyped-def]
    """Bit `bit` of eight runs of 32 levels in one run of bytes: run r in bit r."""
    for b in range(levels.shape[0]):
        row, packed = levels[b, :256], out[b, at : at + 32]
        for i in range(32):
            low = ((row[i] >> bit) & 1) | ((row[i + 32] >> bit) & 1) << 1
            low |= ((row[i + 64] >> bit) & 1) << 2 | ((row[i + 96] >> bit) & 1) << 3
            high = ((row[i + 128] >> bit) & 1) | ((row[i + 160] >> bit) & 1) << 1
            high |= ((row[i + 192] >> bit) & 1) << 2 | ((row[i + 224] >> bit) & 1) << 3
            packed[i] = low | high << 4


@compiled
def pack_row_bits(levels, bit, out, at):  # type: ignore[no-untyped-def]
    """Bit `bit` of 32 levels in 4 bytes, the first level lowest."""
    for b in range(levels.shape[0]):
        for byte in range(4):
            bits = np.uint8(0)
            for i in range(8):
                bits |= ((levels[b, 8 * byte + i] >> bit) & 1) << i
            out[b, at + byte] = bits


@compiled
def pack_index_nibbles(scales, lows, out, at):  # type: ignore[no-untyped-def]
    """Q2_K's scales and minima, of 4 bits each; both become what the file holds, as ggml's masks leave it."""
    for b in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            byte = np.uint8(scales[b, j] | lows[b, j] << 4)
            out[b, at + j] = byte
            scales[b, j], lows[b, j] = byte & 15, byte >> 4


@compiled
def pack_six_bit_pairs(scales, lows, out, at):  # type: ignore[no-untyped-def]
    """Q4_K's and Q5_K's 12 bytes: 8 scales and 8 minima of 6 bits; both become what the file holds."""
    for b in range(scales.shape[0]):
        for j in range(4):
            scale, low, high_scale, high_low = scales[b, j], lows[b, j], scales[b, j + 4], lows[b, j + 4]
            out[b, at + j] = scale | (high_scale >> 4) << 6
            out[b, at + 4 + j] = low | (high_low >> 4) << 6
            out[b, at + 8 + j] = (high_scale & 15) | (high_low & 15) << 4
            scales[b, j], lows[b, j] = scale & 63, low & 63
            scales[b, j + 4] = (high_scale & 15) | (out[b, at + j] >> 6) << 4
            lows[b, j + 4] = (high_low & 15) | (out[b, at + 4 + j] >> 6) << 4


@compiled
def pack_six_bits(scales, out, at):  # type: ignore[no-untyped-def]
    """Q3_K's 12 bytes: the low 4 bits of 16 scales, then the high 2 bits."""
    for b in range(scales.shape[0]):
        for j in range(8):
            out[b, at + j] = (scales[b, j] & 15) | (scales[b, j + 8] & 15) << 4
        for j in range(4):
            low = (scales[b, j] >> 4) | (scales[b, j + 4] >> 4) << 2
            out[b, at + 8 + j] = low | (scales[b, j + 8] >> 4) << 4 | (scales[b, j + 12] >> 4) << 6


@compiled
def pack_split_six_bits(scales, out, at):  # type: ignore[no-untyped-def]
    """IQ4_XS's 6 bytes: the high 2 bits of 8 scales, then the low 4 bits."""
    for b in range(scales.shape[0]):
        for half in range(2):
            j = 4 * half
            high = (scales[b, j] >> 4) | (scales[b, j + 1] >> 4) << 2 | (scales[b, j + 2] >> 4) << 4
            out[b, at + half] = high | (scales[b, j + 3] >> 4) << 6
        for j in range(4):
            out[b, at + 2 + j] = (scales[b, 2 * j] & 15) | (scales[b, 2 * j + 1] & 15) << 4
