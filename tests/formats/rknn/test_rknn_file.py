"""What an .rknn file says of itself is read within its bounds; what is no whole file is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rknn_files import description, rknn_bytes

from edgec.errors import ToolError
from edgec.formats.rknn.rknn_file import read_rknn


def test_types_and_shapes_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.rknn"
    path.write_bytes(rknn_bytes(description(length=16, width=8, output="int8")))
    found = read_rknn(path)
    assert (found.toolkit, found.platforms) == ("2.5.0", ("rk3588",))
    assert [(t.name, t.shape, t.dtype) for t in found.inputs] == [
        ("input_ids", (1, 16), "int64"),
        ("attention_mask", (1, 16), "int64"),
    ]
    assert [(t.shape, t.dtype) for t in found.outputs] == [((1, 16, 8), "int8")]


def test_what_is_not_quantized_is_float16(tmp_path: Path) -> None:
    path = tmp_path / "model.rknn"
    path.write_bytes(rknn_bytes(description(length=16, width=8, output="")))
    assert read_rknn(path).outputs[0].dtype == "float16"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RKNN",
        b"ELFX" + rknn_bytes(description(length=4, width=4))[4:],
        rknn_bytes(description(length=4, width=4))[:-10],
        rknn_bytes(description(length=4, width=4))[:70],
        rknn_bytes({"version": "2.5.0"}),
        rknn_bytes({**description(length=4, width=4), "norm_tensor": []}),
        rknn_bytes(json.loads("[]")),
    ],
)
def test_what_is_no_whole_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.rknn"
    path.write_bytes(data)
    with pytest.raises(ToolError, match="no whole RKNN model") as caught:
        read_rknn(path)
    assert caught.value.diagnostics[0].place == str(path)
