"""A TensorRT-LLM checkpoint turned back into a plain Hugging Face checkpoint, for the proof.

Rule: F16, from the artifact's own bytes, streamed. Weights are those that the engine's kernels multiply with; what the
engine does to activations and to the KV cache stands beside them in `edgec-activations.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgec.events import Progress, Reporter, silent
from edgec.formats.trtllm.fill import SLAB_ELEMENTS
from edgec.formats.trtllm.numbers import Halves, to_half
from edgec.formats.trtllm.view import CheckpointView, ViewedTensor
from edgec.source.safetensors_file import SafetensorsFile, TensorSpec, plan_safetensors
from edgec.store.atomic import write_file

ACTIVATIONS_FILE = "edgec-activations.json"


def decode_checkpoint(
    folder: Path, config: Mapping[str, Any], out: Path, *, report: Reporter = silent, action: str = "decode"
) -> None:
    """Write into the folder `out` (it exists): model.safetensors, config.json and, where needed, the activations' file.

    `folder`: of the artifact; `config`: the source's config.json. Weight-only schemes are decoded from the FP16 that is
    stored, quantized as trtllm-build does when it loads it. Factors of INT4's input channels are folded into weights.
    Raises ProofError for an artifact that is not whole, ToolError when the disk refuses.
    """
    with CheckpointView(folder) as view:
        kept = _kept_pre_scales(view)
        specs = [TensorSpec(t.name, "F16", t.shape) for t in view.tensors.values()]
        specs += [TensorSpec(name, "F16", values.shape) for name, values in kept.items()]
        layout = plan_safetensors(specs)
        with SafetensorsFile(out / "model.safetensors", layout) as file:
            done, total = 0, sum(s.nbytes for s in specs)
            for tensor in view.tensors.values():
                _copy(view, tensor, file)
                done += layout.tensors[tensor.name].nbytes
                report(Progress(action, done, total, "bytes", tensor.name))
            for name, values in kept.items():
                file.write(name, values)
        activations = _activations(view)
        if activations:
            write_file(out / ACTIVATIONS_FILE, (json.dumps(activations, indent=1) + "\n").encode())
    plain = {k: v for k, v in config.items() if k not in ("quantization_config", "torch_dtype")} | {"dtype": "float16"}
    write_file(out / "config.json", (json.dumps(plain, indent=2) + "\n").encode())


def _copy(view: CheckpointView, tensor: ViewedTensor, file: SafetensorsFile) -> None:
    columns = tensor.shape[1] if len(tensor.shape) == 2 else 1
    step = max(1, SLAB_ELEMENTS // (2 * columns)) * 2
    fold = view.pre_scale(tensor.name) if tensor.linear and view.algo == "W4A16_AWQ" else None
    for begin in range(0, tensor.shape[0], step):
        rows = view.rows(tensor.name, begin, min(begin + step, tensor.shape[0]))
        file.write(tensor.name, rows if fold is None else _folded(rows, fold, tensor.name), begin)


def _folded(rows: Halves, factors: Halves, name: str) -> Halves:
    return to_half(rows.astype(np.float32) * factors.astype(np.float32), name)


def _quantized_inputs(view: CheckpointView) -> list[ViewedTensor]:
    return [t for t in view.tensors.values() if t.linear and view.input_scale(t.name) is not None]


def _pre_scale_name(tensor: ViewedTensor) -> str:
    return f"{tensor.name.removesuffix('.weight')}.pre_quant_scale"


def _kept_pre_scales(view: CheckpointView) -> dict[str, Halves]:
    found = {_pre_scale_name(t): view.pre_scale(t.name) for t in _quantized_inputs(view)}
    return {name: values for name, values in found.items() if values is not None}


def _activations(view: CheckpointView) -> dict[str, object]:
    linears = {
        t.name.removesuffix(".weight"): {
            "input_scale": view.input_scale(t.name),
            "pre_scale_tensor": None if view.pre_scale(t.name) is None else _pre_scale_name(t),
        }
        for t in _quantized_inputs(view)
    }
    scales = {layer: view.kv_scale(layer) for layer in range(view.layers)}
    cache = {str(layer): {"k": s, "v": s} for layer, s in scales.items() if s is not None}
    return {"linears": linears, "kv_cache": cache} if linears or cache else {}
