"""Logits of windows of tokens, as a file that another framework's logits are compared with.

Runs in the toolchain. Rule: what a simulator gives must be of the shape that was asked for; values that are not finite
stay in the file, to be counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch


def write_logits(
    get_logits: Callable[[dict[str, Any]], Any], request: dict[str, Any], progress: Callable[..., None]
) -> None:
    """Runs all windows and writes what they give, as float16: a row less its largest loses nothing that counts."""
    windows, first = request["windows"], int(request["scored_from"]) - 1
    scored = len(windows[0]) - 1 - first
    shape = (len(windows) * scored, int(request["vocabulary"]))
    out = np.lib.format.open_memmap(request["logits"], "w+", dtype=np.float16, shape=shape)
    for done, window in enumerate(windows):
        progress(done, len(windows), "windows", "simulating")
        rows = _simulated(get_logits, window[:-1], shape[1])[first:]
        # A row with a value that is not finite stays one.
        out[done * scored : (done + 1) * scored] = rows - rows.max(axis=1, keepdims=True)
    out.flush()


def _simulated(get_logits: Callable[[dict[str, Any]], Any], ids: Sequence[int], vocabulary: int) -> Any:
    found = get_logits({"input_ids": torch.tensor([list(ids)], dtype=torch.int64)})
    if found is None:
        raise SystemExit("RKLLM: get_logits gave nothing")
    values = found.detach().float().cpu().numpy() if isinstance(found, torch.Tensor) else np.asarray(found, np.float32)
    rows = values.reshape(-1, values.shape[-1])
    if rows.shape[0] != len(ids) or rows.shape[1] < vocabulary:
        raise SystemExit(f"RKLLM: get_logits gave {values.shape} for {len(ids)} tokens of {vocabulary}")
    return rows[:, :vocabulary]
