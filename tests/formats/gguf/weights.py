"""The weights of a checkpoint as float32 rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgec.formats.gguf import ggml
from edgec.source.model import Checkpoint, DType
from edgec.source.reader import TensorReader


def read_weights(checkpoint: Checkpoint) -> dict[str, NDArray[np.float32]]:
    """Every tensor by name, as (rows, columns); a vector is one row."""
    found = {}
    with TensorReader(checkpoint) as reader:
        for name, info in checkpoint.header.tensors.items():
            raw = np.empty(info.nbytes, np.uint8)
            reader.pread(info, 0, info.nbytes, raw.data)
            if info.dtype is DType.F32:
                values = raw.view(np.float32)
            else:
                values = np.empty(info.nbytes // 2, np.float32)
                ggml.widen(raw.view(np.uint16), values, brain=info.dtype is DType.BF16)
            found[name] = values.reshape(-1, info.shape[-1])
    return found
