"""Turns an exported folder back into a plain Hugging Face checkpoint, with which a proof can compute logits.

Rule: every number comes from the exported bytes; a slab of a tensor is in memory at a time; the output layer is written
as it was exported, tied or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.documents.canonical import canonical_json
from edgec.formats.edgellm.exported import EMBEDDING, HEAD, ExportedWeights
from edgec.formats.edgellm.shape import Linear, read_shape
from edgec.source.safetensors_file import SafetensorsFile, TensorSpec, plan_safetensors
from edgec.store.atomic import write_file

WEIGHTS_FILE = "model.safetensors"
ACTIVATIONS_FILE = "edgec-activations.json"
_SLAB_BYTES = 32 << 20


def decode_checkpoint(folder: Path, config: Mapping[str, Any], out: Path) -> None:
    """Writes `model.safetensors` (float16), `config.json` and, for INT8, `edgec-activations.json` into `out`.

    `folder`: what `export_edgellm` wrote; `config`: the source's config.json. What is in `out` under these names is
    replaced. Raises ToolError when the export is not that model.
    """
    with ExportedWeights(folder, read_shape(config)) as weights:
        specs = [TensorSpec(name, "F16", shape) for name, shape in _tensors(weights)]
        with SafetensorsFile(out / WEIGHTS_FILE, plan_safetensors(specs)) as file:
            _write_matrices(weights, file)
            for name, values in _vectors(weights):
                file.write(name, values)
        activations = {name: entry for name, entry in _activations(weights) if entry["input_scale"] is not None}
    write_file(out / "config.json", canonical_json(_plain_config(config)))
    if activations:
        write_file(out / ACTIVATIONS_FILE, canonical_json({"linears": activations, "kv_cache": {}}))


def _tensors(weights: ExportedWeights) -> Iterator[tuple[str, tuple[int, ...]]]:
    shape = weights.shape
    yield EMBEDDING, (shape.vocabulary, shape.hidden)
    for linear in weights.linears:
        yield f"{linear.name}.weight", (linear.out_features, linear.in_features)
    for name, values in _vectors(weights):
        yield name, values.shape


def _vectors(weights: ExportedWeights) -> Iterator[tuple[str, NDArray[np.float16]]]:
    for name in weights.shape.vectors():
        yield name, weights.norm(name).astype(np.float16)
    for linear in weights.linears:
        bias, scale = weights.bias(linear.name), weights.pre_scale(linear.name)
        if bias is not None:
            yield f"{linear.name}.bias", bias.astype(np.float16)
        if scale is not None and weights.input_scale(linear.name) is not None:
            yield f"{linear.name}.pre_quant_scale", scale.astype(np.float16)


def _write_matrices(weights: ExportedWeights, file: SafetensorsFile) -> None:
    for begin, end in slabs(Linear(EMBEDDING, weights.shape.vocabulary, weights.shape.hidden)):
        file.write(EMBEDDING, weights.embedding(begin, end), begin)
    for linear in weights.linears:
        for begin, end in slabs(linear):
            file.write(f"{linear.name}.weight", weights.rows(linear.name, begin, end), begin)


def slabs(linear: Linear, step: int = 128) -> Iterator[tuple[int, int]]:
    """Ranges of output channels that cover a matrix, each of a few MB and a multiple of `step`, but for the last."""
    rows = max(step, _SLAB_BYTES // (4 * linear.in_features) // step * step)
    for begin in range(0, linear.out_features, rows):
        yield begin, min(linear.out_features, begin + rows)


def _activations(weights: ExportedWeights) -> Iterator[tuple[str, dict[str, Any]]]:
    for linear in weights.linears:
        scale = weights.pre_scale(linear.name)
        yield (
            linear.name,
            {
                "input_scale": weights.input_scale(linear.name),
                "pre_scale_tensor": None if scale is None else f"{linear.name}.pre_quant_scale",
            },
        )


def _plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in config.items() if k not in ("quantization_config", "auto_map", "dtype")}
    return {**kept, "torch_dtype": "float16", "tie_word_embeddings": False}


__all__ = ["ACTIVATIONS_FILE", "HEAD", "WEIGHTS_FILE", "decode_checkpoint", "slabs"]
