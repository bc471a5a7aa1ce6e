"""Runs in the toolchain `optimum`: a decoder's folder to an ONNX graph of standard operators, with its KV cache.

Rule: what is left in the files depends on the weights alone: no paths, no names of this machine, no matrix twice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy
import onnx
import onnxruntime
import torch
import transformers
from decoder_graph import MODEL_FILE, describe, share_equal, write_graph
from optimum.exporters.onnx import main_export


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`checkpoint`, `scratch`, `out`: folders; `opset`, `tied`, `threads`.

    Answers what the graph has (see `decoder_graph.describe`) and versions.
    """
    os.umask(0o022)
    scratch = Path(request["scratch"])
    # Tools leave files where they run.
    os.chdir(scratch)
    torch.set_num_threads(int(request["threads"]))
    progress(0, 2, "steps", "tracing the model")
    made = scratch / "made"
    main_export(
        request["checkpoint"],
        made,
        task="text-generation-with-past",
        library_name="transformers",
        framework="pt",
        opset=int(request["opset"]),
        do_validation=False,
        local_files_only=True,
        trust_remote_code=False,
        device="cpu",
    )
    progress(1, 2, "steps", "writing the graph")
    _require_external(made)
    model = onnx.load(str(made / MODEL_FILE), load_external_data=False)
    share_equal(model, made)
    write_graph(model, made, Path(request["out"]))
    onnx.checker.check_model(str(Path(request["out"]) / MODEL_FILE))
    modules = (torch, transformers, onnx, onnxruntime, numpy)
    return {**describe(model), "versions": {m.__name__: m.__version__ for m in modules}}


def _require_external(made: Path) -> None:
    """A small model has its weights in the graph's own file: they go beside it, as those of large ones."""
    path = str(made / MODEL_FILE)
    model = onnx.load(path, load_external_data=False)
    if not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=1024)
