"""Compares a checkpoint with logits that something else gave for the same windows of tokens.

Runs in the toolchain `transformers`, by edgec.toolchain; imports nothing of edgec.

Request: `source` (a folder), `logits` (a file: a row for each scored token, one window after the other), `windows`
(lists of token ids, all of one length), `scored_from` (index of the first scored token of a window), `threads`.
Answer: `divergence` (see `divergence_sums`), `versions`; or `refused`: which side, and why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy as np
import torch
import transformers
from checkpoint_folder import CheckpointFolder, RefusedError
from divergence_sums import DivergenceSums
from streamed_model import StreamedModel


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    torch.set_num_threads(int(request["threads"]))
    try:
        with torch.inference_mode():
            return _compared(request, progress)
    except RefusedError as error:
        return {"refused": {"which": error.which, "message": error.message}}


def _compared(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    done = 0

    def step(name: str) -> None:
        nonlocal done
        done += 1
        progress(done, source.n_layers, "layers", f"source {name}")

    source = StreamedModel(CheckpointFolder(Path(request["source"]), "source"), step)
    windows, first = request["windows"], request["scored_from"]
    logits = np.load(request["logits"], mmap_mode="r", allow_pickle=False)
    targets = [token for window in windows for token in window[first:]]
    if logits.shape != (len(targets), source.n_vocab):
        raise RefusedError(
            "candidate", f"logits of {logits.shape}, and {(len(targets), source.n_vocab)} were asked for"
        )
    kept = source.hidden([window[:-1] for window in windows])[:, first - 1 :].flatten(0, 1)
    states = source.head_input(kept.contiguous())
    sums = DivergenceSums(targets)
    for begin, end in source.head_pieces():
        piece = torch.from_numpy(np.array(logits[:, begin:end]))
        head = source.head_piece(begin, end)
        for rows in sums.blocks():
            sums.add_logits(rows, begin, states[rows] @ head.T, piece[rows])
    return {
        "divergence": sums.result(len(windows)),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
