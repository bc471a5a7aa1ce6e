"""Runs in the toolchain `optimum`: an encoder's folder to one ONNX file, compared with torch before it counts.

Rule: what is left in the file depends on the weights alone: no paths, no names of this machine, no two copies of one
tensor.
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

_OUTPUT = "last_hidden_state"


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`checkpoint`, `scratch`: folders; `out`: the file to write; `opset`; `vocabulary`, `positions`, `threads`.

    Answers inputs, outputs, opset, the largest difference to torch, and versions.
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
        task="feature-extraction",
        library_name="transformers",
        framework="pt",
        opset=int(request["opset"]),
        do_validation=False,
        local_files_only=True,
        trust_remote_code=False,
        device="cpu",
    )
    progress(1, 3, "steps", "writing the graph")
    model = onnx.load(str(made / "model.onnx"))
    clean(model)
    onnx.checker.check_model(model)
    out = Path(request["out"])
    out.write_bytes(model.SerializeToString(deterministic=True))
    progress(2, 3, "steps", "comparing with torch")
    inputs = [value.name for value in model.graph.input]
    return {
        "inputs": inputs,
        "outputs": [value.name for value in model.graph.output],
        "opset": next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        "max_difference": _difference(request, out, inputs),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, onnx, onnxruntime)},
    }


def _difference(request: dict[str, Any], path: Path, inputs: list[str]) -> float:
    """The largest difference to torch, relative to the largest value, on one long text and a batch with padding."""
    model = transformers.AutoModel.from_pretrained(
        request["checkpoint"], dtype=torch.float32, local_files_only=True, trust_remote_code=False, use_safetensors=True
    ).eval()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    found = 0.0
    for rows, length, padding in ((1, min(96, request["positions"]), 0), (3, 17, 5)):
        ids = random.integers(0, request["vocabulary"], (rows, length), dtype=np.int64)
        mask = np.ones_like(ids)
        if padding:
            mask[1:, -padding:] = 0
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        given = {name: value for name, value in given.items() if name in inputs}
        with torch.inference_mode():
            wanted = model(**{name: torch.from_numpy(value) for name, value in given.items()})[_OUTPUT].numpy()
        (got,) = session.run([_OUTPUT], given)
        seen = mask.astype(bool)
        if got.shape != wanted.shape or not np.isfinite(got).all():
            raise SystemExit(
                f"onnxruntime gives {got.shape}, or values that are not finite; torch gives {wanted.shape}"
            )
        found = max(found, float(np.abs(got - wanted)[seen].max() / np.abs(wanted)[seen].max()))
    return found
