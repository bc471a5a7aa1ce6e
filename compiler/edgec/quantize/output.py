"""The file of quantized weights: its tensors in Hugging Face's layouts, and linears on their way into it.

Rule: which tensors there are, and their order, follows from the model and the settings alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgec.quantize.architecture import Decoder
from edgec.quantize.packing import PER_WORD, pack_awq, pack_gptq
from edgec.quantize.settings import QuantizeSettings
from edgec.source.model import CheckpointHeader
from edgec.source.safetensors_file import SafetensorsFile, TensorSpec

Floats = NDArray[np.float32]

# Eight times the zero point 8, and what GPTQ's first format stores for it: one less.
_AWQ_ZEROS = np.array(0x88888888, np.uint32).view(np.int32)
_GPTQ_ZEROS = np.array(0x77777777, np.uint32).view(np.int32)


def tensor_specs(header: CheckpointHeader, decoder: Decoder, settings: QuantizeSettings) -> Iterator[TensorSpec]:
    """All tensors of the file, in its order."""
    yield TensorSpec("model.embed_tokens.weight", "F16", (decoder.vocabulary, decoder.width))
    for layer in range(decoder.layers):
        prefix = f"model.layers.{layer}."
        for norm, channels in decoder.norms().items():
            yield TensorSpec(f"{prefix}{norm}.weight", "F16", (channels,))
        for name, (outputs, inputs) in decoder.linear_shapes().items():
            yield from linear_specs(prefix + name, outputs, inputs, settings)
            if f"{prefix}{name}.bias" in header.tensors:
                yield TensorSpec(f"{prefix}{name}.bias", "F16", (outputs,))
    yield TensorSpec("model.norm.weight", "F16", (decoder.width,))
    if not decoder.tied:
        yield TensorSpec("lm_head.weight", "F16", (decoder.vocabulary, decoder.width))


def linear_specs(name: str, outputs: int, inputs: int, settings: QuantizeSettings) -> list[TensorSpec]:
    """The tensors of one quantized linear."""
    if settings.method == "smoothquant":
        return [
            TensorSpec(f"{name}.weight", "I8", (outputs, inputs)),
            TensorSpec(f"{name}.weight_scale", "F32", (outputs,)),
            TensorSpec(f"{name}.input_scale", "F32", ()),
        ]
    groups = inputs // settings.group_size
    gptq = settings.method == "gptq"
    packed = (inputs // PER_WORD, outputs) if gptq else (inputs, outputs // PER_WORD)
    specs = [
        TensorSpec(f"{name}.qweight", "I32", packed),
        TensorSpec(f"{name}.qzeros", "I32", (groups, outputs // PER_WORD)),
        TensorSpec(f"{name}.scales", "F16", (groups, outputs)),
    ]
    return [*specs, TensorSpec(f"{name}.g_idx", "I32", (inputs,))] if gptq else specs


@dataclass(frozen=True)
class LinearError:
    """How far a linear's quantized weights are from what was quantized, relative to its root mean square."""

    name: str
    relative_rmse: float


class QuantizedLinear:
    """One linear as its rows are quantized; small beside its weights. `write` puts it into the file."""

    def __init__(self, name: str, outputs: int, inputs: int, settings: QuantizeSettings) -> None:
        self.name = name
        self._settings = settings
        self._inputs = inputs
        specs = {spec.name.rpartition(".")[2]: spec.shape for spec in linear_specs(name, outputs, inputs, settings)}
        if settings.method == "smoothquant":
            self._codes: NDArray[Any] = np.empty(specs["weight"], np.int8)
            self._scales = np.empty((outputs, 1), np.float32)
        else:
            self._codes = np.empty(specs["qweight"], np.int32)
            self._scales = np.empty((outputs, inputs // settings.group_size), np.float32)
        self.input_scale = np.float32(0)
        self.is_held = True
        self._error = self._power = 0.0

    def add(self, begin: int, codes: NDArray[np.int8], scales: Floats, values: Floats) -> Floats:
        """Takes rows from `begin` on: codes and scales, and the weights they stand for; gives what they are now."""
        end = begin + len(codes)
        self._scales[begin:end] = scales
        if self._settings.method == "smoothquant":
            self._codes[begin:end] = codes
        elif self._settings.method == "gptq":
            self._codes[:, begin:end] = pack_gptq((codes + np.int8(8)).view(np.uint8))
        else:
            self._codes[:, begin // PER_WORD : end // PER_WORD] = pack_awq((codes + np.int8(8)).view(np.uint8))
        now = codes.reshape(len(codes), scales.shape[1], -1) * scales[:, :, None]
        now = now.reshape(values.shape)
        self._error += float(np.sum((now - values) ** 2, dtype=np.float64))
        self._power += float(np.sum(values**2, dtype=np.float64))
        return now

    def divide_rows(self, divisors: Floats) -> Floats:
        """Folds a scaling of the outputs into the scales; gives what rows are multiplied with (outputs, groups)."""
        before = self._scales
        scales = before / divisors[:, None]
        if self._settings.method != "smoothquant":
            scales = np.maximum(scales.astype(np.float16).astype(np.float32), np.float32(2.0**-24))
        self._scales = scales
        return scales / before

    @property
    def error(self) -> LinearError:
        """The error of all rows."""
        return LinearError(self.name, float(np.sqrt(self._error / self._power)) if self._power else 0.0)

    def write(self, file: SafetensorsFile) -> None:
        """Writes the tensors of the linear but its bias, and lets go of its codes."""
        self._write(file)
        self.is_held = False
        self._codes = np.empty(0, np.int8)

    def _write(self, file: SafetensorsFile) -> None:
        if self._settings.method == "smoothquant":
            file.write(f"{self.name}.weight", self._codes)
            file.write(f"{self.name}.weight_scale", self._scales[:, 0])
            file.write(f"{self.name}.input_scale", np.array(self.input_scale, np.float32))
            return
        file.write(f"{self.name}.qweight", self._codes)
        file.write(f"{self.name}.scales", np.ascontiguousarray(self._scales.T.astype(np.float16)))
        zeros = np.empty(file.layout.tensors[f"{self.name}.qzeros"].shape, np.int32)
        zeros[:] = _GPTQ_ZEROS if self._settings.method == "gptq" else _AWQ_ZEROS
        file.write(f"{self.name}.qzeros", zeros)
        if self._settings.method == "gptq":
            file.write(f"{self.name}.g_idx", np.arange(self._inputs, dtype=np.int32) // self._settings.group_size)
