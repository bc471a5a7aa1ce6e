"""A quantized checkpoint written out as a plain one in float16: what a proof in another framework can read.

Rule: a slab of a matrix is in memory at a time; what a kernel multiplies the input with beforehand is multiplied into
the weights, so that the plain model computes the same but for the rounding of activations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgec.events import Progress, Reporter
from edgec.quantize.forward import blocks
from edgec.quantize.linear_state import as_float16
from edgec.quantize.weights import Weights, open_weights
from edgec.source.layout import CONFIG
from edgec.source.model import Checkpoint, CheckpointHeader, DType, TensorInfo
from edgec.source.safetensors_file import SafetensorsFile, TensorSpec, plan_safetensors
from edgec.store.atomic import write_file

_WEIGHTS = "model.safetensors"
# What quantized linears consist of besides their bias.
_PARTS = (
    *("weight", "qweight", "qzeros", "scales", "g_idx"),
    *("weight_scale", "weight_scale_2", "input_scale", "pre_quant_scale"),
)
_KEYS = ("quantization_config", "torch_dtype", "dtype")


def write_plain(checkpoint: Checkpoint, out: Path, *, report: Reporter, action: str) -> Checkpoint:
    """The checkpoint in the folder `out`, which exists. Raises InputError for weights that cannot be read."""
    header = checkpoint.header
    with open_weights(checkpoint) as weights:
        layout = plan_safetensors(_specs(header, weights))
        done, total = 0, sum(t.nbytes for t in layout.tensors.values())
        with SafetensorsFile(out / _WEIGHTS, layout) as file:
            for spec in layout.tensors.values():
                for begin, rows in _rows(weights, spec):
                    file.write(spec.name, rows, begin)
                done += spec.nbytes
                report(Progress(action, done, total, "bytes", spec.name))
    config = {key: value for key, value in header.config.items() if key not in _KEYS} | {"torch_dtype": "float16"}
    write_file(out / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    tensors = {
        name: TensorInfo(name, DType.F16, spec.shape, _WEIGHTS, layout.offsets[name], spec.nbytes)
        for name, spec in layout.tensors.items()
    }
    plain = CheckpointHeader(config, tensors, header.files, header.identity)
    return Checkpoint(plain, out)


def _specs(header: CheckpointHeader, weights: Weights) -> Iterator[TensorSpec]:
    parts = {f"{name}.{part}" for name, info in weights.linears.items() if info.bits is not None for part in _PARTS}
    for name, info in weights.linears.items():
        yield TensorSpec(f"{name}.weight", "F16", (info.out_features, info.in_features))
    for name, tensor in header.tensors.items():
        if name not in parts and name.removesuffix(".weight") not in weights.linears:
            yield TensorSpec(name, "F16", tensor.shape)


def _rows(weights: Weights, spec: TensorSpec) -> Iterator[tuple[int, NDArray[np.float16]]]:
    if len(spec.shape) < 2:
        yield 0, as_float16(weights.vector(spec.name), spec.name).astype(np.float16)
        return
    name = spec.name.removesuffix(".weight")
    info = weights.linears.get(name)
    factors = None
    if info is not None and info.has_pre_scale:
        factors = weights.vector(f"{name}.pre_quant_scale")
    for begin, end in blocks(*spec.shape):
        rows = weights.rows(spec.name, begin, end)
        if factors is not None:
            rows = rows * factors
        yield begin, as_float16(rows, spec.name).astype(np.float16)
