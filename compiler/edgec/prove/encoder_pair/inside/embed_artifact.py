"""Embeds texts with an ONNX file in onnxruntime, one by one and in batches with padding.

Runs in the toolchain `optimum`, by edgec.toolchain; imports nothing of edgec but the scripts that make the ONNX file.

Request: `model` (an ONNX file), `texts` (`ids` and `types`), `pooling`, `pad_id`, `threads`, `out` (a file for the
rows: `artifact` and `padded`, one for each text).
Answer: `inputs`, `outputs`, `seconds` (CPU time of single texts), `versions`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside these files comes before the standard library.
sys.path.append(str(Path(__file__).parents[3] / "formats" / "onnx" / "inside"))

import numpy as np
import onnxruntime
from encoder_session import EncoderSession

# Texts of one batch with padding, and between two reports of progress.
_BATCH = 8


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    os.umask(0o022)
    texts = request["texts"]
    session = EncoderSession(request["model"], request["pooling"], request["pad_id"], int(request["threads"]))
    artifact: list[Any] = []
    padded: list[Any] = []
    seconds = 0.0
    for start in range(0, len(texts), _BATCH):
        progress(start, len(texts), "texts", "onnxruntime")
        batch = texts[start : start + _BATCH]
        started = time.process_time()
        artifact += [session.rows([text])[0] for text in batch]
        seconds += time.process_time() - started
        padded += session.rows(batch)
    with Path(request["out"]).open("wb") as file:
        np.savez(file, artifact=np.stack(artifact), padded=np.stack(padded))
    return {
        "inputs": session.inputs,
        "outputs": session.outputs,
        "seconds": seconds,
        "versions": {onnxruntime.__name__: onnxruntime.__version__},
    }
