"""One reader for the weights of every checkpoint, plain or quantized, that backends write their own formats from.

Rule: output channels are read a slab at a time, whatever order a layout stores them in; what is read is finite and
exactly what the checkpoint says, or an InputError.
"""

from __future__ import annotations

from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgec.errors import EdgecError, InputError
from edgec.quantize.linears import LinearInfo, plan_weights
from edgec.quantize.packing import PER_WORD, unpack_awq, unpack_gptq, unpack_gptq_zeros, unpack_modelopt
from edgec.quantize.stored import Panels, as_float32, read_floats, read_rows, read_vector
from edgec.source.finite import check_finite
from edgec.source.model import Checkpoint, TensorInfo
from edgec.source.quantization import Quantization
from edgec.source.reader import TensorReader

__all__ = ["LinearInfo", "Weights", "open_weights", "plan_weights"]

_LOWEST, _HIGHEST = -8, 7
_MIDDLE = 8


def open_weights(checkpoint: Checkpoint) -> Weights:
    """Opens the weights of `checkpoint`. Raises InputError as `plan_weights` does."""
    return Weights(checkpoint)


class Weights:
    """The weights of a checkpoint. Thread-safe; a context manager. Names are Hugging Face's.

    Rows of a quantized linear may be any range whose begin and end are multiples of 8 (or the end of the matrix).
    A tied output layer has no tensor: `has("lm_head")` is False then.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.linears = plan_weights(checkpoint.header)
        self._tensors = checkpoint.header.tensors
        self._quantization = checkpoint.header.quantization
        self._reader = TensorReader(checkpoint)
        self._panels = Panels(self._reader)
        self._in_order: set[str] = set()

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._reader.close()

    def has(self, name: str) -> bool:
        """Whether there is a linear or a tensor of this name."""
        return name in self.linears or name in self._tensors

    def linear(self, name: str) -> LinearInfo:
        """The linear `name` (`model.layers.0.self_attn.q_proj`). Raises InputError when there is none."""
        if name not in self.linears:
            raise _missing(name)
        return self.linears[name]

    def codes(self, name: str, begin: int, end: int) -> NDArray[np.int8]:
        """Output channels [begin, end) x input channels, signed, the zero point subtracted.

        Raises InputError when that leaves what signed codes of so many bits hold: -8 to 7 for 4 bits. ValueError for a
        linear that is not quantized.
        """
        info = self._quantized(name)
        codes = self._signed(info, begin, end)
        if info.bits == 4 and codes.size and not (codes.min() >= _LOWEST and codes.max() <= _HIGHEST):
            raise InputError.of(
                "its zero points are not the middle of the codes, and code minus zero point leaves -8 to 7",
                hint="quantize the original checkpoint symmetrically (edgec does), or take a symmetric one",
                place=name,
            )
        return codes

    def scales(self, name: str, begin: int, end: int) -> NDArray[np.float32]:
        """Scales of output channels [begin, end): x (input channels / group size), or x 1 when per channel."""
        info = self._quantized(name)
        if self._layout.layout in ("awq", "gptq"):
            tensor = self._tensors[f"{name}.scales"]
            values = as_float32(np.ascontiguousarray(self._panels.columns(tensor, begin, end).T), tensor.dtype)
            check_finite(values, tensor=tensor.name, file=tensor.file, first_index=begin)
            return values
        values = read_floats(self._reader, self._tensors[f"{name}.weight_scale"], begin, end)
        return values.reshape(end - begin, -1 if info.group_size else 1)

    def rows(self, tensor: str, begin: int, end: int) -> NDArray[np.float32]:
        """Rows [begin, end) of a plain matrix, or of a quantized linear's `<name>.weight`, dequantized.

        What a kernel multiplies with: where `has_pre_scale` is set, the input has to be multiplied by it beforehand.
        """
        name = tensor.removesuffix(".weight")
        info = self.linears.get(name) if tensor != name else None
        if info is None or info.bits is None:
            return read_floats(self._reader, self._info(tensor), begin, end)
        codes, scales = self._signed(info, begin, end), self.scales(name, begin, end)
        grouped = codes.reshape(end - begin, scales.shape[1], -1).astype(np.float32)
        grouped *= scales[:, :, None]
        return grouped.reshape(end - begin, info.in_features)

    def vector(self, tensor: str) -> NDArray[np.float32]:
        """All of a small tensor (a norm, a bias, a pre_quant_scale), flat."""
        return read_vector(self._reader, self._info(tensor))

    def input_scale(self, name: str) -> float | None:
        """The static scale of the linear's input (SmoothQuant); None when its input is not quantized."""
        scale = self._tensors.get(f"{name}.input_scale")
        return None if scale is None else float(self.vector(scale.name)[0])

    @property
    def _layout(self) -> Quantization:
        if self._quantization is None:
            raise ValueError("the checkpoint is not quantized")
        return self._quantization

    def _info(self, tensor: str) -> TensorInfo:
        if tensor not in self._tensors:
            raise _missing(tensor)
        return self._tensors[tensor]

    def _quantized(self, name: str) -> LinearInfo:
        info = self.linear(name)
        if info.bits is None:
            raise ValueError(f"{name} is not quantized")
        return info

    def _signed(self, info: LinearInfo, begin: int, end: int) -> NDArray[np.int8]:
        """Codes less their zero points: of 4 bits, from -15 to 15."""
        layout = self._layout
        step = 1 if info.bits == 8 else PER_WORD
        if begin % step or (end % step and end != info.out_features):
            raise ValueError(f"{info.name}: rows {begin} to {end} do not begin and end at a word")
        if layout.layout == "modelopt_int8_sq":
            return read_rows(self._reader, self._info(f"{info.name}.weight"), begin, end).view(np.int8)
        if layout.layout == "modelopt_awq":
            packed = read_rows(self._reader, self._info(f"{info.name}.weight"), begin // 2, end // 2)
            return unpack_modelopt(packed.view(np.uint8))
        words = self._info(f"{info.name}.qweight")
        if layout.layout == "awq":
            part = self._panels.columns(words, begin // PER_WORD, end // PER_WORD)
            codes = unpack_awq(part.view(np.int32))
        else:
            self._require_order(info)
            codes = unpack_gptq(self._panels.columns(words, begin, end).view(np.int32))
        zeros = self._zeros(info, begin, end)
        grouped = codes.reshape(end - begin, zeros.shape[1], -1).view(np.int8)
        return (grouped - zeros[:, :, None]).reshape(end - begin, info.in_features)

    def _zeros(self, info: LinearInfo, begin: int, end: int) -> NDArray[np.int8]:
        """Zero points of output channels [begin, end) x groups."""
        layout, tensor = self._layout, self._info(f"{info.name}.qzeros")
        if tensor.elements == 0:
            groups = info.in_features // (info.group_size or info.in_features)
            return np.full((end - begin, groups), _MIDDLE, np.int8)
        words = self._panels.columns(tensor, begin // PER_WORD, end // PER_WORD).view(np.int32)
        if layout.layout == "awq":
            return unpack_awq(words).view(np.int8)
        stored = unpack_gptq_zeros(words).view(np.int8)
        # Symmetric checkpoints in the first format's name store 8 as it is now and then; both mean the middle.
        if layout.symmetric and np.isin(stored, (_MIDDLE - 1, _MIDDLE)).all():
            return np.full_like(stored, _MIDDLE)
        return stored + np.int8(layout.zero_offset)

    def _require_order(self, info: LinearInfo) -> None:
        """Refuses a g_idx that is not in order, whatever desc_act says."""
        tensor = self._tensors.get(f"{info.name}.g_idx")
        if tensor is None or info.name in self._in_order:
            return
        groups = read_rows(self._reader, tensor, 0, info.in_features)
        if not np.array_equal(groups, np.arange(info.in_features) // (info.group_size or info.in_features)):
            raise InputError.of(
                "g_idx permutes the input channels, as desc_act does",
                hint="take a GPTQ checkpoint with desc_act false, or the unquantized one; edgec quantizes it itself",
                place=f"{tensor.file}: tensor '{tensor.name}'",
            )
        self._in_order.add(info.name)


def _missing(name: str) -> EdgecError:
    return InputError.of(
        f"the checkpoint has no tensor or linear layer '{name}'",
        hint="check that all weight files were downloaded and that config.json belongs to them",
    )
