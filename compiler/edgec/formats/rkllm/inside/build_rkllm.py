"""Runs in the toolchain `rkllm`: a checkpoint to one .rkllm file, simulated before it is written.

Rule: the toolkit simulates what this process has built, and cannot load a file again; a file whose model was not run
here is never left. Written from Rockchip's documents of RKLLM 1.3.0 and its examples; never run: the toolkit is closed,
and nobody here has it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import torch
from rkllm.api import RKLLM
from simulated_logits import write_logits


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`checkpoint`, `scratch`: folders; `dataset`: a JSON file; `out`, `logits`: files to write; `scheme`; `platform`;
    `npu_cores`; `max_context`; `windows`: lists of token ids; `scored_from`; `vocabulary`; `threads`.

    `logits` gets, of each window, those that predict its tokens from `scored_from` on, each row less its largest.
    """
    os.umask(0o022)
    # The toolkit may leave files where it runs.
    os.chdir(request["scratch"])
    torch.set_num_threads(int(request["threads"]))
    progress(0, 4, "steps", "loading the checkpoint")
    toolkit = RKLLM()
    loaded = toolkit.load_huggingface(
        model=request["checkpoint"], model_lora=None, device="cpu", dtype="float32", custom_config=None,
        load_weight=True,
    )  # fmt: skip
    _succeeded(loaded, "load_huggingface")
    progress(1, 4, "steps", "quantizing for the NPU")
    built = toolkit.build(
        do_quantization=True, optimization_level=1, quantized_dtype=request["scheme"], quantized_algorithm="normal",
        target_platform=request["platform"], num_npu_core=int(request["npu_cores"]), extra_qparams=None,
        dataset=request["dataset"], hybrid_rate=0, max_context=int(request["max_context"]),
    )  # fmt: skip
    _succeeded(built, "build")
    progress(2, 4, "steps", "simulating")
    write_logits(toolkit.get_logits, request, progress)
    progress(3, 4, "steps", "writing the model")
    _succeeded(toolkit.export_rkllm(request["out"]), "export_rkllm")
    names = ("rkllm-toolkit", "torch", "transformers", "numpy")
    return {"versions": {name: version(name) for name in names}}


def _succeeded(code: Any, what: str) -> None:
    if code != 0:
        raise SystemExit(f"RKLLM: {what} answered {code}")
