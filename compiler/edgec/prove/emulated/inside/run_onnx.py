"""Runs an ONNX encoder on token ids. Started twice with the same request: natively, and in qemu.

Runs in the toolchain `emulation` and in the emulated root, by edgec.toolchain; imports nothing of edgec.

Request: `model`, `ids` (lists), `threads`, `out` (a file: `rows`, the mean hidden state of each text).
Answer: `ids`, `runtime`, `features` (empty: onnxruntime chooses its kernels at run time), `machine`.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(request["threads"])
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    progress(0, len(request["ids"]), "texts", "opening the model")
    session = onnxruntime.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    rows = []
    for done, ids in enumerate(request["ids"]):
        progress(done, len(request["ids"]), "texts", f"{len(ids)} tokens on {platform.machine()}")
        tokens = np.array([ids], np.int64)
        given = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "token_type_ids": np.zeros_like(tokens)}
        hidden = session.run(None, {name: given[name] for name in names})[0][0]
        rows.append(hidden.mean(axis=0))
    with open(request["out"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, rows=np.stack(rows))
    return {
        "ids": request["ids"],
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "features": "",
        "machine": platform.machine(),
    }
