"""The folder that the exporter is given: the checkpoint's weights as links, and small files written by edgec.

Rules: nothing of the checkpoint can run (the exporter trusts remote code that config.json names); the exporter's
guesses about the quantization are settled here; the checkpoint itself is not touched.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgec.errors import InputError
from edgec.formats.edgellm.layout import TOKENIZER_FILES, EdgeLlmLayout
from edgec.quantize.weights import plan_weights
from edgec.source.layout import INDEX, SINGLE
from edgec.source.model import Checkpoint, CheckpointHeader, TensorInfo
from edgec.source.quantization import MODELOPT_CONFIG, Quantization
from edgec.source.reader import TensorReader
from edgec.store.atomic import explained

_COPIED = (*TOKENIZER_FILES, "generation_config.json", "chat_template.jinja", "chat_template.json")
_CODE = ("auto_map", "custom_pipelines")
_ALGORITHMS = {"modelopt_awq": "W4A16_AWQ", "modelopt_int8_sq": "W8A8_SQ_PER_CHANNEL"}
_MIDDLE = 8


def stage(checkpoint: Checkpoint, layout: EdgeLlmLayout, folder: Path) -> None:
    """Makes the folder. Raises ToolError when it cannot be written, InputError for files with names of folders."""
    header = checkpoint.header
    shards = sorted({tensor.file for tensor in header.tensors.values()})
    with explained(folder):
        folder.mkdir(parents=True)
        for shard in shards:
            target = SINGLE if len(shards) == 1 else shard
            (folder / target).symlink_to((checkpoint.root / shard).resolve())
        if len(shards) > 1:
            weight_map = {name: tensor.file for name, tensor in header.tensors.items()}
            (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
        for name in _COPIED:
            if name in header.files:
                (folder / name).write_bytes(_without_code(name, header.files[name]))
        (folder / "config.json").write_text(json.dumps(_config(header, layout)), encoding="utf-8")
        if header.quantization is not None and header.quantization.layout in _ALGORITHMS:
            (folder / MODELOPT_CONFIG).write_text(json.dumps(_modelopt(header)), encoding="utf-8")


def _config(header: CheckpointHeader, layout: EdgeLlmLayout) -> dict[str, Any]:
    kept = {k: v for k, v in header.config.items() if k not in (*_CODE, "quantization_config")}
    kept["model_type"] = layout.shape.model_type
    quantization = header.quantization
    if quantization is not None and quantization.layout in ("awq", "gptq"):
        kept["quantization_config"] = _settings(quantization)
    return kept


def _settings(quantization: Quantization) -> dict[str, Any]:
    common = {"quant_method": quantization.layout, "bits": quantization.bits, "group_size": quantization.group_size}
    if quantization.layout == "awq":
        return {**common, "version": "gemm", "zero_point": not quantization.symmetric}
    return {**common, "sym": quantization.symmetric, "desc_act": False}


def _modelopt(header: CheckpointHeader) -> dict[str, Any]:
    """modelopt's own file: without it, the exporter would take a tied output layer for a quantized one."""
    quantization = header.quantization
    algorithm = _ALGORITHMS[quantization.layout] if quantization else None
    plain = sorted(name for name, info in plan_weights(header).items() if info.bits is None)
    excluded = sorted({*plain, "lm_head"})
    group = {"group_size": quantization.group_size} if quantization and quantization.group_size else {}
    return {
        "quantization": {"quant_algo": algorithm, "kv_cache_quant_algo": None, "exclude_modules": excluded, **group}
    }


def _without_code(name: str, data: bytes) -> bytes:
    """A small file without what names code."""
    if name != "tokenizer_config.json":
        return data
    try:
        settings = json.loads(data)
    except ValueError:
        return data
    if not isinstance(settings, dict) or not any(key in settings for key in _CODE):
        return data
    return json.dumps({k: v for k, v in settings.items() if k not in _CODE}, ensure_ascii=False).encode()


def refuse_asymmetric(checkpoint: Checkpoint) -> None:
    """Raises InputError for zero points that are not the middle of the codes.

    The exporter bakes them into the codes and cuts off what then leaves 4 bits, without a word.
    """
    quantization = checkpoint.header.quantization
    if quantization is None or quantization.layout not in ("awq", "gptq"):
        return
    with TensorReader(checkpoint) as reader:
        for tensor in checkpoint.header.tensors.values():
            if tensor.name.endswith(".qzeros") and tensor.elements:
                _refuse_zeros(reader, tensor, quantization)


def _refuse_zeros(reader: TensorReader, tensor: TensorInfo, quantization: Quantization) -> None:
    words = np.empty(tensor.elements, "<u4")
    reader.pread(tensor, 0, tensor.nbytes, words.view(np.uint8).data)
    # Symmetric GPTQ checkpoints store 8 as 7, or as it is; the reader and the exporter take both for the middle.
    middles = {_MIDDLE - quantization.zero_offset}
    if quantization.layout == "gptq" and quantization.symmetric:
        middles |= {_MIDDLE - 1, _MIDDLE}
    if not any((words == 0x11111111 * middle).all() for middle in middles):
        raise InputError.of(
            "the checkpoint is quantized asymmetrically (its zero points are not the middle of the codes); Edge-LLM's "
            "kernels are symmetric, and its exporter cuts such codes off without a word",
            hint="quantize the original checkpoint symmetrically (scheme int4_awq does), or take a symmetric one",
            place=f"{tensor.file}: tensor '{tensor.name}'",
        )
