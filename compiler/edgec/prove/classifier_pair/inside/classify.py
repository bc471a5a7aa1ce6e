"""Classifies images with a checkpoint in torch and with an ONNX file in onnxruntime.

Runs in the toolchain `optimum`, by edgec.toolchain; imports nothing of edgec.

Request: `checkpoint` (a folder), `model` (an ONNX file, or null: the source alone), `images` (an .npy file: one row
each, as the model takes them), `input`, `output` (their names), `batch` (images of one run, to compare with runs of
one), `threads`, `out` (a file for the logits: `source`, `artifact`, `batched`, one row for each image).
Answer: `seconds` (CPU time of both), `versions`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers

_REPORTED = 8


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    os.umask(0o022)
    torch.set_num_threads(int(request["threads"]))
    images = np.load(request["images"], mmap_mode="r", allow_pickle=False)
    started = time.process_time()
    rows = {"source": _in_torch(request, images, progress)}
    seconds = {"torch": time.process_time() - started}
    if request["model"] is not None:
        session = _session(request)
        started = time.process_time()
        rows["artifact"] = _in_onnxruntime(session, request, images, 1, progress)
        seconds["onnxruntime"] = time.process_time() - started
        rows["batched"] = _in_onnxruntime(session, request, images, int(request["batch"]), progress)
    with open(request["out"], "wb") as file:  # noqa: PTH123 - a path from edgec
        np.savez(file, **rows)
    return {"seconds": seconds, "versions": {m.__name__: m.__version__ for m in (torch, transformers, onnxruntime)}}


def _in_torch(request: dict[str, Any], images: Any, progress: Callable[..., None]) -> Any:
    model = transformers.AutoModelForImageClassification.from_pretrained(
        request["checkpoint"], dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    ).eval()
    rows = []
    with torch.inference_mode():
        for number in range(len(images)):
            pixels = torch.from_numpy(np.array(images[number : number + 1]))
            rows.append(model(pixel_values=pixels).logits[0].numpy())
            if number % _REPORTED == 0:
                progress(number, len(images), "images", "torch")
    return np.stack(rows)


def _session(request: dict[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(request["threads"])
    # Threads that spin while they wait cost time that no image needed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(request["model"], options, providers=["CPUExecutionProvider"])


def _in_onnxruntime(
    session: Any, request: dict[str, Any], images: Any, batch: int, progress: Callable[..., None]
) -> Any:
    rows: list[Any] = []
    for number in range(0, len(images), batch):
        given = {request["input"]: np.array(images[number : number + batch])}
        rows += list(session.run([request["output"]], given)[0])
        if number % _REPORTED == 0:
            progress(number, len(images), "images", f"onnxruntime, {batch} at once")
    return np.stack(rows)
