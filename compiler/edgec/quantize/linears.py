"""The linear layers of a checkpoint, plain or quantized, from its header alone.

Rule: whatever is told here was checked against the shapes of the tensors; a checkpoint whose tensors are not those of
the layout it announces is refused before a weight is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgec.errors import EdgecError, InputError
from edgec.quantize.packing import PER_WORD
from edgec.source.model import CheckpointHeader, DType, TensorInfo
from edgec.source.quantization import Quantization

_WEIGHT = ".weight"
_HINT = "fetch the checkpoint again, or use the unquantized one, edgec quantizes it itself"


@dataclass(frozen=True)
class LinearInfo:
    """A linear layer. `bits` and `group_size` are None for plain weights; `group_size` also for per-channel scales."""

    name: str
    out_features: int
    in_features: int
    bits: int | None
    group_size: int | None
    has_bias: bool
    has_pre_scale: bool


def plan_weights(header: CheckpointHeader) -> Mapping[str, LinearInfo]:
    """The linears by their Hugging Face names without `.weight`; matrices that are no linears are left out.

    Raises InputError for tensors that do not fit the quantization the checkpoint announces.
    """
    quantization = header.quantization
    found: dict[str, LinearInfo] = {}
    owned: set[str] = set()
    for tensor in header.tensors.values():
        name = _linear_of(tensor, quantization)
        if name is None:
            continue
        info = _plain(name, tensor, header) if tensor.dtype.is_float else _quantized(name, header)
        found[name] = info
        owned |= {f"{name}.{part}" for part in _parts(info, quantization)}
    strangers = [t for t in header.tensors.values() if not t.dtype.is_float and t.name not in owned]
    if strangers:
        raise _wrong(strangers[0], f"is {strangers[0].dtype} and belongs to no quantized linear layer")
    return found


def _linear_of(tensor: TensorInfo, quantization: Quantization | None) -> str | None:
    """The linear that this is the main tensor of, or None."""
    if quantization is not None and quantization.layout in ("awq", "gptq") and tensor.name.endswith(".qweight"):
        return tensor.name.removesuffix(".qweight")
    is_matrix = tensor.name.endswith(_WEIGHT) and len(tensor.shape) == 2
    return tensor.name.removesuffix(_WEIGHT) if is_matrix and "embed" not in tensor.name else None


def _parts(info: LinearInfo, quantization: Quantization | None) -> tuple[str, ...]:
    if info.bits is None or quantization is None:
        return ("weight",)
    own = {"awq": ("qweight", "qzeros"), "gptq": ("qweight", "qzeros", "g_idx")}
    return own.get(quantization.layout, ("weight",))


def _plain(name: str, tensor: TensorInfo, header: CheckpointHeader) -> LinearInfo:
    outputs, inputs = tensor.shape
    return LinearInfo(name, outputs, inputs, None, None, f"{name}.bias" in header.tensors, False)


def _quantized(name: str, header: CheckpointHeader) -> LinearInfo:
    quantization = header.quantization
    if quantization is None:
        raise ValueError(f"{name}: integers in a checkpoint that is not quantized")
    read = {"awq": _awq, "gptq": _gptq, "modelopt_awq": _modelopt_awq, "modelopt_int8_sq": _modelopt_int8}
    outputs, inputs, group_size = read[quantization.layout](name, header.tensors, quantization)
    pre_scale = header.tensors.get(f"{name}.pre_quant_scale")
    if pre_scale is not None:
        _expect(pre_scale, (inputs,), floats=True)
    has_bias = f"{name}.bias" in header.tensors
    return LinearInfo(name, outputs, inputs, quantization.bits, group_size, has_bias, pre_scale is not None)


_Tensors = Mapping[str, TensorInfo]
# (outputs, inputs, group size)
_Shape = tuple[int, int, int | None]


def _awq(name: str, tensors: _Tensors, quantization: Quantization) -> _Shape:
    words = _part(name, "qweight", tensors, DType.I32)
    inputs, outputs = words.shape[0], words.shape[1] * PER_WORD
    size, groups = _groups(words, inputs, quantization)
    _expect(_part(name, "qzeros", tensors, DType.I32), (groups, outputs // PER_WORD))
    _expect(_part(name, "scales", tensors, None), (groups, outputs), floats=True)
    return outputs, inputs, size


def _gptq(name: str, tensors: _Tensors, quantization: Quantization) -> _Shape:
    words = _part(name, "qweight", tensors, DType.I32)
    inputs, outputs = words.shape[0] * PER_WORD, words.shape[1]
    size, groups = _groups(words, inputs, quantization)
    zeros = _part(name, "qzeros", tensors, DType.I32)
    # Some symmetric checkpoints leave the zero points out, as a tensor without elements.
    if not (quantization.symmetric and zeros.elements == 0):
        _expect(zeros, (groups, outputs // PER_WORD))
    _expect(_part(name, "scales", tensors, None), (groups, outputs), floats=True)
    if f"{name}.g_idx" in tensors:
        _expect(_part(name, "g_idx", tensors, DType.I32), (inputs,))
    return outputs, inputs, size


def _modelopt_awq(name: str, tensors: _Tensors, quantization: Quantization) -> _Shape:
    packed = _part(name, "weight", tensors, DType.U8)
    outputs, inputs = packed.shape[0] * 2, packed.shape[1]
    size, groups = _groups(packed, inputs, quantization)
    _expect(_part(name, "weight_scale", tensors, None), (outputs, groups), floats=True)
    return outputs, inputs, size


def _modelopt_int8(name: str, tensors: _Tensors, quantization: Quantization) -> _Shape:
    codes = _part(name, "weight", tensors, DType.I8)
    outputs, inputs = codes.shape
    _expect(_part(name, "weight_scale", tensors, None), (outputs,), floats=True)
    scale = _part(name, "input_scale", tensors, None)
    if scale.elements != 1 or not scale.dtype.is_float:
        raise _wrong(scale, f"is {scale.dtype} {list(scale.shape)}, and one number is read")
    return outputs, inputs, None


def _groups(tensor: TensorInfo, inputs: int, quantization: Quantization) -> tuple[int, int]:
    """Group size and number of groups."""
    size = quantization.group_size
    size = inputs if size is None or size == -1 else size
    if inputs % size:
        raise _wrong(tensor, f"has {inputs} input channels, which groups of {size} do not divide")
    return size, inputs // size


def _part(name: str, part: str, tensors: _Tensors, dtype: DType | None) -> TensorInfo:
    tensor = tensors.get(f"{name}.{part}")
    if tensor is None:
        raise InputError.of(f"the checkpoint has no tensor '{name}.{part}'", hint=_HINT, place=name)
    if dtype is not None and (tensor.dtype is not dtype or len(tensor.shape) not in (1, 2)):
        raise _wrong(tensor, f"is {tensor.dtype} {list(tensor.shape)}, and a matrix of {dtype} is read")
    if part in ("qweight", "weight") and len(tensor.shape) != 2:
        raise _wrong(tensor, f"is {list(tensor.shape)}, and a matrix is read")
    return tensor


def _expect(tensor: TensorInfo, shape: tuple[int, ...], *, floats: bool = False) -> None:
    if tensor.shape != shape or (floats and not tensor.dtype.is_float):
        kind = "floats" if floats else "integers"
        raise _wrong(tensor, f"is {tensor.dtype} {list(tensor.shape)}, where {kind} {list(shape)} belong")


def _wrong(tensor: TensorInfo, what: str) -> EdgecError:
    return InputError.of(what, hint=_HINT, place=f"{tensor.file}: tensor '{tensor.name}'")
