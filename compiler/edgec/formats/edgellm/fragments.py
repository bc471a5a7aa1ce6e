"""The order in which Edge-LLM's INT4 kernel (Int4GroupwiseGemmPluginV2) stores codes.

Rule: a tile is 128 output by 64 input channels; it is stored as 8 rows of 128 words of 8 codes. Codes are stored plus
8, and channels beyond the matrix as 8, which is zero. Tiles of one block of output channels follow one another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILE_OUT, TILE_IN = 128, 64
ROWS_PER_TILE, ROW_BYTES = 8, 512
_MIDDLE = 8


def tiles(channels: int, size: int) -> int:
    """How many tiles cover so many channels."""
    return -(-channels // size)


def fragment_rows(out_features: int, in_features: int) -> int:
    """Rows of the stored matrix."""
    return tiles(out_features, TILE_OUT) * tiles(in_features, TILE_IN) * ROWS_PER_TILE


def unpack_fragments(stored: NDArray[np.int8], in_features: int) -> NDArray[np.int8]:
    """Stored rows of whole blocks of 128 output channels, as signed codes (output channels, padded input channels).

    Within a tile, output channel = 64 pair + 32 high + lane, input channel = 16 block + 8 far + 2 column + odd; a row
    is (block, pair), a word of it (lane, column), and the codes of a word, from the highest bits, (odd, high, far).
    """
    across = tiles(in_features, TILE_IN)
    words = np.ascontiguousarray(stored).view(np.uint32).reshape(-1, across, 4, 2, 32, 4)
    codes = np.empty((len(words), 2, 2, 32, across, 4, 2, 4, 2), np.int8)
    for index in range(8):
        odd, high, far = index >> 2, index >> 1 & 1, index & 1
        part = (words >> np.uint32(4 * index)) & np.uint32(15)
        codes[:, :, high, :, :, :, far, :, odd] = part.transpose(0, 3, 4, 1, 2, 5)
    codes -= _MIDDLE
    return codes.reshape(len(words) * TILE_OUT, across * TILE_IN)
