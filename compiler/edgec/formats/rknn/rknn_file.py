"""What an .rknn file says of itself: its toolkit, its chips, its inputs and outputs.

Rule: nothing is believed that does not lie within the file. Layout: "RKNN", four bytes, a version and the length of the
body (64 bits each, little-endian), the body from byte 64, the length of a JSON text, the text.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgec.errors import ToolError

_MAGIC = b"RKNN"
_BODY_AT = 64
_LARGEST_TEXT = 16 << 20


@dataclass(frozen=True)
class RknnTensor:
    """An input or output. `dtype`: as quantized (`int8`), or what it is without: `float16`, or an input's own type."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class RknnFile:
    """The description at the end of the file."""

    toolkit: str
    platforms: tuple[str, ...]
    inputs: tuple[RknnTensor, ...]
    outputs: tuple[RknnTensor, ...]


def read_rknn(path: Path, input_type: str = "int64") -> RknnFile:
    """The description in `path`; `input_type`: of inputs that are not quantized, of which the file says nothing.

    Raises ToolError for a file that is no whole RKNN model.
    """
    try:
        return _described(_text(path), input_type)
    except (OSError, ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise ToolError.of(
            f"the file is no whole RKNN model: {error!r}", place=str(path), hint="build again; report it with the log"
        ) from error


def _text(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_BODY_AT)
        body = struct.unpack_from("<Q", head, 16)[0]
        if head[:4] != _MAGIC or _BODY_AT + body + 8 > size:
            raise ValueError("no RKNN header, or less than it announces")
        file.seek(_BODY_AT + body)
        length = struct.unpack("<Q", file.read(8))[0]
        if length > min(_LARGEST_TEXT, size - file.tell()):
            raise ValueError("the description is cut off")
        found = json.loads(file.read(length).rstrip(b"\0"))
    if not isinstance(found, dict):
        raise ValueError("the description is no object")
    return found


def _described(text: dict[str, Any], input_type: str) -> RknnFile:
    tensors = {t["tensor_id"]: t for t in text["norm_tensor"]}
    found: dict[str, list[RknnTensor]] = {"input": [], "output": []}
    for edge in sorted(text["graph"], key=lambda e: int(e["left_tensor_id"])):
        tensor = tensors[edge["right_tensor_id"]]
        kind = str(tensor["dtype"]["vx_type"])
        # What is not quantized is left as the graph had it: token ids, or float16 for all that is computed.
        plain = input_type if edge["left"] == "input" else "float16"
        shape = tuple(int(n) for n in tensor["size"])
        found[edge["left"]].append(RknnTensor(str(tensor["url"]), shape, kind or plain))
    platforms = tuple(str(p) for p in text["target_platform"])
    return RknnFile(str(text["version"]), platforms, tuple(found["input"]), tuple(found["output"]))
