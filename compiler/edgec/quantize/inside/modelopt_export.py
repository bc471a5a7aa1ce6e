"""Runs in the toolchain's environment: quantizes a checkpoint with NVIDIA's Model Optimizer, on a CPU.

Rule: it calibrates on the token windows it is given, and writes with modelopt's own `export_hf_checkpoint`.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import modelopt.torch.quantization as mtq
import torch
from modelopt.torch.export import export_hf_checkpoint
from transformers import AutoModelForCausalLM


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`checkpoint`, `out`: folders; `windows`: a file with lists of tokens; `method`, `group_size`."""
    os.umask(0o022)
    torch.manual_seed(0)
    windows = json.loads(Path(request["windows"]).read_text(encoding="utf-8"))
    model = AutoModelForCausalLM.from_pretrained(request["checkpoint"], dtype="auto", local_files_only=True).eval()
    passes = 0

    def forward(each: Any) -> None:
        nonlocal passes
        passes += 1
        for done, window in enumerate(windows):
            progress(done, len(windows), "windows", f"pass {passes}")
            with torch.no_grad():
                each(torch.tensor([window]))

    model = mtq.quantize(model, _config(request), forward)
    with torch.inference_mode():
        export_hf_checkpoint(model, export_dir=request["out"])
    return {"versions": {name: version(name) for name in ("nvidia-modelopt", "torch", "transformers")}}


def _config(request: dict[str, Any]) -> Any:
    """modelopt's own settings for the method, with our group size."""
    if request["method"] == "smoothquant":
        return mtq.INT8_SMOOTHQUANT_CFG
    config = copy.deepcopy(mtq.INT4_AWQ_CFG)
    found = _set_group_size(config, request["group_size"])
    if not found:
        raise SystemExit("modelopt's INT4_AWQ_CFG names no block size of the weights' last axis")
    return config


def _set_group_size(settings: Any, group_size: int) -> bool:
    """Sets `block_sizes: {-1: ...}` wherever it stands; whether it stood anywhere."""
    found = False
    if isinstance(settings, dict):
        sizes = settings.get("block_sizes")
        if isinstance(sizes, dict) and -1 in sizes:
            sizes[-1] = group_size
            found = True
        settings = list(settings.values())
    if isinstance(settings, list):
        for value in settings:
            found = _set_group_size(value, group_size) or found
    return found
