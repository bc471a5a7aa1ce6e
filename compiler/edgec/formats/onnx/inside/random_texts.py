"""Random tokens on which a graph is compared with torch, and how far apart two outputs are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def random_texts(vocabulary: int, positions: int, *, types: bool) -> Iterator[dict[str, Any]]:
    """Inputs by their names: one long text, and a batch with padding; of two parts where the model has `types`."""
    random = np.random.default_rng(0)
    for rows, length, padding in ((1, min(96, positions), 0), (3, min(17, positions), 5)):
        ids = random.integers(0, vocabulary, (rows, length), dtype=np.int64)
        mask, second = np.ones_like(ids), np.zeros_like(ids)
        if padding:
            mask[1:, -padding:] = 0
        if types:
            second[:, length // 2 :] = 1
        yield {"input_ids": ids, "attention_mask": mask, "token_type_ids": second}


def difference(found: Any, wanted: Any, mask: Any) -> float:
    """The largest difference, relative to the largest value, where no padding is. SystemExit: it cannot be told."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        raise SystemExit(f"onnxruntime gives {found.shape}, or values that are not finite; torch gives {wanted.shape}")
    seen = mask.astype(bool) if found.ndim > 2 else np.ones(found.shape[0], bool)
    return float(np.abs(found - wanted)[seen].max() / np.abs(wanted)[seen].max())
