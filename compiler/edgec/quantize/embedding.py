"""Activations before the first layer. Rule: only the rows of tokens that occur are read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgec.quantize.layer import Windows
from edgec.quantize.linear_state import as_float16
from edgec.quantize.spill import Spill
from edgec.quantize.weights import Weights

_NAME = "model.embed_tokens.weight"


def embed(weights: Weights, ids: NDArray[np.int32], windows: Windows, out: Spill) -> None:
    """Writes the embeddings of the tokens `ids`, all windows in a row."""
    for begin, end in windows.chunks():
        made = np.empty((end - begin, out.columns), np.float32)
        for token in np.unique(ids[begin:end]):
            made[ids[begin:end] == token] = as_float16(weights.rows(_NAME, int(token), int(token) + 1), _NAME)
        out.write(begin, made)
