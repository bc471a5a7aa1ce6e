"""Small files in the layout of .rknn: a header, a body, a description of inputs and outputs."""

from __future__ import annotations

import json
import struct
from typing import Any


def description(*, length: int, width: int, output: str = "", platform: str = "rk3588") -> dict[str, Any]:
    """Of an encoder with two inputs, as rknn-toolkit2 2.5.0 writes it."""
    shapes = {"input_ids": [1, length], "attention_mask": [1, length], "last_hidden_state": [1, length, width]}
    tensors = [
        {"tensor_id": i, "url": name, "size": shape, "dim_num": len(shape), "dtype": {"vx_type": "", "qnt_type": ""}}
        for i, (name, shape) in enumerate(shapes.items())
    ]
    tensors[-1]["dtype"] = {"vx_type": output, "qnt_type": output}
    edges = [("input", 0, 0), ("input", 1, 1), ("output", 0, 2)]
    graph = [{"left": s, "left_tensor_id": a, "right": "norm_tensor", "right_tensor_id": b} for s, a, b in edges]
    return {"version": "2.5.0", "target_platform": [platform], "norm_tensor": tensors, "graph": graph}


def rknn_bytes(text: Any, body: bytes = bytes(100)) -> bytes:
    """A whole file."""
    told = json.dumps(text).encode()
    head = b"RKNN" + bytes(4) + struct.pack("<QQ", 6, len(body))
    return head.ljust(64, b"\0") + body + struct.pack("<Q", len(told)) + told
