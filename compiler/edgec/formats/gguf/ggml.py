"""ggml's kernels, called by ctypes out of xllamacpp's shared library without importing xllamacpp.

Rule: buffers are checked here (type, contiguity, size, whole blocks), because ggml checks nothing; every call releases
the interpreter lock.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgec.errors import ToolError
from edgec.formats.gguf.types import TensorType

# Where ggml rounds every multiplication and addition. Its builds for other processors fuse some: they have other bytes.
REFERENCE_MACHINES = frozenset({"x86_64", "AMD64"})

_ROW_CONVERTER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class _TypeTraits(ctypes.Structure):
    """ggml.h: struct ggml_type_traits."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", _ROW_CONVERTER),
        ("from_float_ref", _ROW_CONVERTER),
    )


def library_path() -> Path:
    """Where xllamacpp's shared library lies. Raises ToolError when it is not installed."""
    spec = importlib.util.find_spec("xllamacpp")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else None
    found = sorted(p for p in folder.glob("xllamacpp*") if p.suffix in {".so", ".pyd"}) if folder else []
    if not found:
        raise ToolError.of(
            "the xllamacpp package is not installed", hint="reinstall edgec: pip install --upgrade edgec"
        )
    return found[0]


@cache
def _library() -> ctypes.CDLL:
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
        quantize, traits = library.ggml_quantize_chunk, library.ggml_get_type_traits
        validate, converters = library.ggml_validate_row_data, (
            library.ggml_bf16_to_fp32_row, library.ggml_fp16_to_fp32_row,
        )  # fmt: skip
    except (OSError, AttributeError) as error:
        raise ToolError.of(
            f"cannot use ggml in {path.name}: {error}", hint="reinstall the xllamacpp version edgec asks for"
        ) from error
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    traits.restype = ctypes.POINTER(_TypeTraits)
    traits.argtypes = [ctypes.c_int]
    validate.restype = ctypes.c_bool
    validate.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    for converter in converters:
        converter.restype = None
        converter.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    _check_traits(library)
    return library


def _check_traits(library: ctypes.CDLL) -> None:
    """Refuse a library whose blocks differ from ours: offsets are computed before it is asked."""
    for tensor_type in TensorType:
        traits = library.ggml_get_type_traits(tensor_type.ggml_id).contents
        if (traits.blck_size, traits.type_size) != (tensor_type.block_elements, tensor_type.block_bytes):
            raise ToolError.of(
                f"xllamacpp's ggml has another layout for {tensor_type.label}",
                hint="reinstall the xllamacpp version edgec asks for",
            )


def load() -> None:
    """Load the library now, so that a missing one is reported before any work. Raises ToolError."""
    _library()


def quantize(
    tensor_type: TensorType,
    values: NDArray[np.float32],
    out: NDArray[np.uint8],
    importance: NDArray[np.float32] | None,
) -> None:
    """Quantize the rows of `values` (rows, columns) into `out` (rows * row_bytes,).

    `importance`: one weight per column, or None. Raises ToolError when ggml's result is not valid.
    """
    rows, columns = values.shape
    size = rows * tensor_type.row_bytes(columns)
    if not (values.flags.c_contiguous and out.flags.c_contiguous) or values.dtype != np.float32 or out.size != size:
        raise ValueError("quantize needs contiguous float32 rows and an output of exactly their size")
    if importance is not None and (importance.shape != (columns,) or not importance.flags.c_contiguous):
        raise ValueError(f"the importance matrix has shape {importance.shape}, not ({columns},)")
    library = _library()
    weights = importance.ctypes.data if importance is not None else None
    written = library.ggml_quantize_chunk(
        tensor_type.ggml_id, values.ctypes.data, out.ctypes.data, 0, rows, columns, weights
    )
    if written != size or not library.ggml_validate_row_data(tensor_type.ggml_id, out.ctypes.data, size):
        raise no_valid_data(tensor_type)


def no_valid_data(tensor_type: TensorType) -> ToolError:
    """The error for blocks with a scale that is no finite number."""
    return ToolError.of(
        f"ggml made no valid {tensor_type.label} data",
        hint="weights above 65504 need an override with bf16 or f32; else the memory is at fault: build again",
    )


def dequantize(tensor_type: TensorType, data: NDArray[np.uint8], elements: int) -> NDArray[np.float32]:
    """The float32 values of `elements` elements in `data`."""
    if data.size != tensor_type.row_bytes(elements) or not data.flags.c_contiguous:
        raise ValueError("dequantize needs contiguous data of exactly the elements' size")
    if tensor_type is TensorType.F32:
        return data.view(np.float32)
    out = np.empty(elements, np.float32)
    traits = _library().ggml_get_type_traits(tensor_type.ggml_id).contents
    traits.to_float(data.ctypes.data, out.ctypes.data, elements)
    return out


def widen(source: NDArray[np.uint16], out: NDArray[np.float32], *, brain: bool) -> None:
    """Write the float32 values of 16-bit floats to `out`; `brain`: they are bfloat16, not IEEE half."""
    if source.size != out.size or not (source.flags.c_contiguous and out.flags.c_contiguous):
        raise ValueError("widen needs contiguous arrays of one size")
    library = _library()
    convert = library.ggml_bf16_to_fp32_row if brain else library.ggml_fp16_to_fp32_row
    convert(source.ctypes.data, out.ctypes.data, source.size)
