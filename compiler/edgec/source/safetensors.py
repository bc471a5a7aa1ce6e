"""The header of a safetensors file: from untrusted bytes to checked `TensorInfo`s.

Rule: what leaves `parse_header` lies inside the file, does not overlap, leaves no hole, and each tensor has exactly the
bytes its dtype and shape demand; everything else is an `InputError` that names the file and the tensor.
Source of the format: https://huggingface.co/docs/safetensors (8 bytes little-endian length, JSON header, data).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from edgec.errors import EdgecError, InputError
from edgec.source.model import DType, TensorInfo

LENGTH_BYTES = 8
# The limit of the reference implementation: a longer header is an attack or another format.
MAX_HEADER_BYTES = 100_000_000
_MAX_DIMENSIONS = 8
LFS_POINTER = b"version https://git-lfs"
_AGAIN = "fetch the file again; it is cut short or damaged"

# Bits per element of every dtype of the format, so that a tensor of a type we do not compile still has a checked size.
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
# Position buffers that old exports of BERT and its family store beside the weights, and the counters of batches seen in
# training that normalizations keep; no model reads them.
_BUFFERS = ("position_ids", "token_type_ids", "num_batches_tracked")


def header_bytes(prefix: bytes, *, file_size: int, file: str) -> int:
    """The length of the whole header (length field and JSON) that the first 8 bytes of a file announce.

    Raises InputError on a git-LFS pointer, a file shorter than 8 bytes and a length that cannot be.
    """
    if prefix.startswith(LFS_POINTER[:LENGTH_BYTES]):
        raise _wrong(
            file,
            "this is a git-LFS pointer (a few lines of text), not the weights",
            "run `git lfs install && git lfs pull` in the checkpoint's folder, or give `hub:` and `revision:` instead",
        )
    if len(prefix) < LENGTH_BYTES or file_size < LENGTH_BYTES:
        raise _wrong(file, f"truncated header: the file has {file_size} bytes, a safetensors file at least 8", _AGAIN)
    length = int.from_bytes(prefix[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise _wrong(
            file,
            f"the header announces {length} bytes, more than the {MAX_HEADER_BYTES} the format allows",
            "check that this is a safetensors file and not another format; if it is, fetch it again",
        )
    if LENGTH_BYTES + length > file_size:
        raise _wrong(
            file, f"truncated header: it announces {length} bytes, the file has {file_size - LENGTH_BYTES}", _AGAIN
        )
    return LENGTH_BYTES + length


def parse_header(data: bytes, *, file_size: int, file: str, integers: bool = False) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file, by name, in the order of their bytes.

    `data`: the first bytes of the file, at least its whole header; `file_size`: the size of the file in bytes;
    `file`: its name, for messages and `TensorInfo.file`. Integer buffers that no model reads are left out. `integers`:
    take the integers of quantized weights as well.
    Raises InputError, and nothing else, on every header that is not exactly right.
    """
    end = header_bytes(data[:LENGTH_BYTES], file_size=file_size, file=file)
    if len(data) < end:
        raise _wrong(file, f"truncated header: {len(data)} of {end} bytes could be read", _AGAIN)
    entries = _read_json(data[LENGTH_BYTES:end], file)
    spans = [_Entry(name, value, file, integers) for name, value in entries.items() if name != "__metadata__"]
    if not spans:
        raise _wrong(file, "the file holds no tensors", "use the checkpoint's weights, saved as safetensors")
    spans.sort(key=lambda e: (e.begin, e.end, e.name))
    _check_layout(spans, data_bytes=file_size - end, file=file)
    return {e.name: e.info(file, end) for e in spans if not e.is_buffer}


def read_header(path: Path, *, file: str, integers: bool = False) -> dict[str, TensorInfo]:
    """`parse_header` of a file on disk, reading its header only. Raises InputError when it cannot be read."""
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            prefix = stream.read(LENGTH_BYTES)
            length = header_bytes(prefix, file_size=size, file=file)
            return parse_header(
                prefix + stream.read(length - LENGTH_BYTES), file_size=size, file=file, integers=integers
            )
    except OSError as error:
        raise _wrong(
            file, f"cannot be read: {error.strerror}", "check that the file exists and that you may read it"
        ) from error


class _Entry:
    """One entry of the JSON header with its types and its size checked."""

    def __init__(self, name: str, value: object, file: str, integers: bool) -> None:
        self.name = name
        if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
            raise _wrong_tensor(file, name, "the entry must have exactly dtype, shape and data_offsets")
        self.shape = tuple(_naturals(value["shape"], file, name, "shape"))
        if len(self.shape) > _MAX_DIMENSIONS:
            raise _wrong_tensor(file, name, f"shape has {len(self.shape)} dimensions, more than {_MAX_DIMENSIONS}")
        offsets = _naturals(value["data_offsets"], file, name, "data_offsets")
        if len(offsets) != 2 or offsets[0] > offsets[1]:
            raise _wrong_tensor(file, name, f"data_offsets {offsets} must be [begin, end] with begin <= end")
        self.begin, self.end = offsets
        self.dtype = _known_dtype(value["dtype"], file, name)
        self.is_buffer = self.dtype.startswith(("I", "U", "BOOL")) and name.rsplit(".", maxsplit=1)[-1] in _BUFFERS
        taken = self.dtype in DType.__members__ and (integers or DType(self.dtype).is_float)
        if not taken and not self.is_buffer:
            raise InputError.of(
                f"dtype {self.dtype} is not one edgec compiles from (BF16, F16, F32)",
                hint=_dtype_hint(self.dtype),
                place=f"{file}: tensor '{name}'",
            )
        need = (math.prod(self.shape) * _BITS[self.dtype] + 7) // 8
        if need != self.end - self.begin:
            raise _wrong_tensor(
                file,
                name,
                f"{self.dtype} {list(self.shape)} takes {need} bytes, data_offsets span {self.end - self.begin}",
            )

    def info(self, file: str, data_start: int) -> TensorInfo:
        return TensorInfo(
            name=self.name,
            dtype=DType(self.dtype),
            shape=self.shape,
            file=file,
            offset=data_start + self.begin,
            nbytes=self.end - self.begin,
        )


def _read_json(raw: bytes, file: str) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) != len(pairs):
            seen: set[str] = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise _wrong_tensor(file, twice, "the name stands twice in the header")
        return out

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    # ValueError: not UTF-8, not JSON, or a number with more digits than Python converts.
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error).split("\n", maxsplit=1)[0][:120]
        raise _wrong(file, f"the header is not JSON: {reason}", "check that this is a safetensors file") from error
    if not isinstance(value, dict):
        raise _wrong(file, "the header is not a JSON object", "check that this is a safetensors file")
    return value


def _naturals(value: object, file: str, tensor: str, what: str) -> list[int]:
    ok = isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in value)
    if not ok or not isinstance(value, list):
        raise _wrong_tensor(file, tensor, f"{what} must be a list of whole numbers, not {str(value)[:60]}")
    return value


def _known_dtype(value: object, file: str, tensor: str) -> str:
    if isinstance(value, str) and value in _BITS:
        return value
    raise InputError.of(
        f"unknown dtype {str(value)[:40]!r}",
        hint="save the checkpoint as BF16, F16 or F32 safetensors",
        place=f"{file}: tensor '{tensor}'",
    )


def _check_layout(spans: list[_Entry], *, data_bytes: int, file: str) -> None:
    position = 0
    previous = ""
    for e in spans:
        if e.end > data_bytes:
            raise _wrong(
                f"{file}: tensor '{e.name[:200]}'",
                f"data_offsets [{e.begin}, {e.end}] reach past the end of the data ({data_bytes} bytes)",
                _AGAIN,
            )
        if e.begin < position:
            raise _wrong_tensor(file, e.name, f"data_offsets overlap those of tensor '{previous}'")
        if e.begin > position:
            raise _wrong_tensor(file, e.name, f"{e.begin - position} bytes before it belong to no tensor")
        position, previous = e.end, e.name
    if position != data_bytes:
        raise _wrong(file, f"{data_bytes - position} bytes after the last tensor belong to no tensor", _AGAIN)


def _dtype_hint(dtype: str) -> str:
    if dtype == "F4" or dtype.startswith(("F8_", "F6_")):
        return (
            "this checkpoint is quantized (FP8 or smaller); use the unquantized one, usually the same name without -FP8"
        )
    if dtype in {"F64", "C64"}:
        return "convert the checkpoint to float32 first: `model.float().save_pretrained(folder)`"
    return (
        "integer weights come from AWQ, GPTQ or bitsandbytes checkpoints, and config.json says nothing of them in "
        "quantization_config; fetch the whole checkpoint again, or use the unquantized one, edgec quantizes it itself"
    )


def _wrong(file: str, message: str, hint: str) -> EdgecError:
    return InputError.of(message, hint=hint, place=file)


def _wrong_tensor(file: str, tensor: str, message: str) -> EdgecError:
    return _wrong(f"{file}: tensor '{tensor[:200]}'", message, "the header is damaged; fetch the file again")
