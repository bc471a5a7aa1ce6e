"""Runs in the toolchain `optimum`: an image classifier's folder to one ONNX file, compared with torch before it counts.

Rule: what is left in the file depends on the weights alone; the input has the model's size, only the batch is open.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from clean_graph import clean
from optimum.exporters.onnx import main_export

_BATCH = "batch_size"


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`checkpoint`, `scratch`: folders; `out`: the file to write; `opset`; `shape`: of one image, batch included;
    `input`, `output`: their names; `threads`.

    Answers inputs and outputs with their shapes, opset, the largest difference to torch, and versions.
    """
    os.umask(0o022)
    # Tools leave files where they run.
    os.chdir(request["scratch"])
    torch.set_num_threads(int(request["threads"]))
    progress(0, 3, "steps", "tracing the model")
    made = Path(request["scratch"]) / "made"
    main_export(
        request["checkpoint"],
        made,
        task="image-classification",
        library_name="transformers",
        framework="pt",
        opset=int(request["opset"]),
        do_validation=False,
        local_files_only=True,
        trust_remote_code=False,
        device="cpu",
        height=request["shape"][2],
        width=request["shape"][3],
    )
    progress(1, 3, "steps", "writing the graph")
    model = onnx.load(str(made / "model.onnx"))
    _fix_size(model.graph, request["shape"])
    clean(model, made)
    onnx.checker.check_model(model)
    out = Path(request["out"])
    out.write_bytes(model.SerializeToString(deterministic=True))
    progress(2, 3, "steps", "comparing with torch")
    return {
        "inputs": [_described(value) for value in model.graph.input],
        "outputs": [_described(value) for value in model.graph.output],
        "opset": next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        "max_difference": _difference(request, out),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, onnx, onnxruntime)},
    }


def _fix_size(graph: Any, shape: list[int]) -> None:
    """Channels, height and width of the input as planned; what was found for other sizes is forgotten."""
    for value in graph.input:
        for dimension, length in zip(value.type.tensor_type.shape.dim[1:], shape[1:], strict=True):
            dimension.dim_value = length
    del graph.value_info[:]


def _described(value: Any) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.shape.dim]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return {"name": value.name, "dtype": dtype, "shape": shape}


def _difference(request: dict[str, Any], path: Path) -> float:
    """The largest difference to torch, relative to the largest value, on random pixels: one image, and three."""
    model = transformers.AutoModelForImageClassification.from_pretrained(
        request["checkpoint"], dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    ).eval()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    found = 0.0
    for images in (1, 3):
        pixels = random.standard_normal((images, *request["shape"][1:]), np.float32)
        with torch.inference_mode():
            wanted = model(pixel_values=torch.from_numpy(pixels)).logits.numpy()
        (got,) = session.run([request["output"]], {request["input"]: pixels})
        if got.shape != wanted.shape or not np.isfinite(got).all():
            raise SystemExit(
                f"onnxruntime gives {got.shape}, or values that are not finite; torch gives {wanted.shape}"
            )
        found = max(found, float(np.abs(got - wanted).max() / np.abs(wanted).max()))
    return found
