"""A written checkpoint, read back under Hugging Face's names: what the engine will multiply with.

Rule: from the artifact's own bytes alone, config.json and rank0.safetensors; nothing is taken from the source or from
the plan. A checkpoint that is not whole is a ProofError.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.errors import EdgecError, InputError, ProofError
from edgec.formats.trtllm.layout import CONFIG_FILE, WEIGHTS_FILE
from edgec.formats.trtllm.names import EMBEDDING, FINAL_NORM, LINEARS, NORMS, OUTPUT, layer_of
from edgec.formats.trtllm.numbers import (
    Halves,
    dequantize_channels,
    dequantize_groups,
    unpack_nibbles,
    weight_only,
)
from edgec.quantize.stored import read_rows
from edgec.source.local import read_small_file
from edgec.source.model import Checkpoint, CheckpointHeader, SourceIdentity, TensorInfo
from edgec.source.reader import TensorReader
from edgec.source.safetensors import read_header

_MAX_CONFIG_BYTES = 1 << 20
_WEIGHT_ONLY_BITS = {"W8A16": 8, "W4A16": 4}


@dataclass(frozen=True)
class ViewedTensor:
    """A tensor under Hugging Face's name; `linear`: it is a matrix of the layers. `first_row`: in the fused tensor."""

    name: str
    shape: tuple[int, ...]
    stored: str
    first_row: int
    linear: bool


class CheckpointView:
    """The checkpoint in `folder`. A context manager. Raises ProofError when it is not whole."""

    def __init__(self, folder: Path) -> None:
        self.config = _config(folder)
        try:
            self._tensors = read_header(folder / WEIGHTS_FILE, file=WEIGHTS_FILE, integers=True)
        except InputError as error:
            raise ProofError(*error.diagnostics) from error
        self.algo: str | None = self.config["quantization"]["quant_algo"]
        self.tensors = {t.name: t for t in self._viewed()}
        identity = SourceIdentity(uri=f"file:{folder.name}", revision=None, licence=None, files=())
        self._reader = TensorReader(Checkpoint(CheckpointHeader({}, self._tensors, {}, identity), folder))

    def __enter__(self) -> CheckpointView:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._reader.close()

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.config["num_hidden_layers"])

    def rows(self, name: str, begin: int, end: int) -> Halves:
        """Rows [begin, end) of a matrix, or elements of a vector, as the engine multiplies with them.

        `begin` must be even. Weights that the build quantizes when it loads them are quantized here as it does.
        """
        tensor = self.tensors[name]
        first, last = tensor.first_row + begin, tensor.first_row + end
        if not tensor.linear:
            return self._read(tensor.stored, first, last).view(np.float16)
        if self.algo is None:
            return self._read(f"{tensor.stored}.weight", first, last).view(np.float16)
        if self.algo in _WEIGHT_ONLY_BITS:
            halves = self._read(f"{tensor.stored}.weight", first, last).view(np.float16)
            return weight_only(halves, _WEIGHT_ONLY_BITS[self.algo])
        scales = self._read(f"{tensor.stored}.weights_scaling_factor", first, last).view(np.float32)
        if self.algo == "W4A16_AWQ":
            packed = self._read(f"{tensor.stored}.weight", first // 2, (last + 1) // 2).view(np.int8)
            return dequantize_groups(unpack_nibbles(packed)[: last - first], scales)
        return dequantize_channels(self._read(f"{tensor.stored}.weight", first, last).view(np.int8), scales)

    def pre_scale(self, name: str) -> Halves | None:
        """What the input of the linear that `name` is the weight of is multiplied by, per channel; None without it."""
        stored = f"{self.tensors[name].stored}.prequant_scaling_factor"
        if stored not in self._tensors:
            return None
        return self._read(stored, 0, self._tensors[stored].shape[0]).view(np.float16)

    def input_scale(self, name: str) -> float | None:
        """The static scale of the input of the linear that `name` is the weight of; None when it is not quantized."""
        return self._number(f"{self.tensors[name].stored}.activation_scaling_factor")

    def kv_scale(self, layer: int) -> float | None:
        """The scale of the KV cache of `layer`; None when it is not quantized."""
        return self._number(f"{layer_of(layer)[0]}.attention.kv_cache_scaling_factor")

    def _number(self, stored: str) -> float | None:
        return float(self._read(stored, 0, 1).view(np.float32)[0]) if stored in self._tensors else None

    def _read(self, stored: str, begin: int, end: int) -> NDArray[np.generic]:
        return read_rows(self._reader, self._info(stored), begin, end)

    def _info(self, stored: str) -> TensorInfo:
        if stored not in self._tensors:
            raise _broken(f"the tensor '{stored}' is missing")
        return self._tensors[stored]

    def _viewed(self) -> list[ViewedTensor]:
        found = [self._plain(*EMBEDDING)]
        for layer in range(self.layers):
            ours, theirs = layer_of(layer)
            found += [self._plain(f"{ours}.{o}", f"{theirs}.{t}") for o, t in NORMS.items()]
            for stored, modules in LINEARS.items():
                found += self._linear(f"{ours}.{stored}", tuple(f"{theirs}.{m}" for m in modules))
        found.append(self._plain(*FINAL_NORM))
        # Where the file has none, the embedding is the output layer.
        return [*found, self._plain(*OUTPUT)] if OUTPUT[0] in self._tensors else found

    def _plain(self, stored: str, name: str) -> ViewedTensor:
        return ViewedTensor(name, self._info(stored).shape, stored, 0, linear=False)

    def _linear(self, stored: str, names: tuple[str, ...]) -> list[ViewedTensor]:
        columns = self._info(f"{stored}.weight").shape[1]
        height = self._info(f"{stored}.weight").shape[0] * (2 if self.algo == "W4A16_AWQ" else 1)
        rows = self._fused_rows() if len(names) == 3 else (height,)
        if sum(rows) != height:
            raise _broken(f"'{stored}.weight' has {height} output channels, config.json speaks of {sum(rows)}")
        found: list[ViewedTensor] = []
        first = 0
        for name, count in zip(names, rows, strict=True):
            found.append(ViewedTensor(f"{name}.weight", (count, columns), stored, first, linear=True))
            if f"{stored}.bias" in self._tensors:
                found.append(ViewedTensor(f"{name}.bias", (count,), f"{stored}.bias", first, linear=False))
            first += count
        return found

    def _fused_rows(self) -> tuple[int, int, int]:
        size = int(self.config["head_size"])
        keys = int(self.config["num_key_value_heads"]) * size
        return int(self.config["num_attention_heads"]) * size, keys, keys


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads(read_small_file(folder / CONFIG_FILE, CONFIG_FILE, _MAX_CONFIG_BYTES))
    except (InputError, ValueError) as error:
        raise _broken(f"config.json cannot be read: {error}") from error
    wanted = ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_size", "quantization")
    missing = [k for k in wanted if not isinstance(config, dict) or k not in config]
    if missing:
        raise _broken(f"config.json has no {missing[0]}")
    return dict(config)


def _broken(what: str) -> EdgecError:
    return ProofError.of(what, place="TensorRT-LLM checkpoint", hint="the artifact is not whole: build it again")
