"""Reading model.onnx and its data, against the onnx package, and files that are not whole."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgec.errors import ToolError
from edgec.formats.edgellm.onnx_file import read_exported
from edgec.formats.edgellm.tensor_data import TensorData
from edgec.source.onnx_graph import FLOAT16, INT8, Initializer

WEIGHT = np.arange(24, dtype=np.float16).reshape(4, 6)
SMALL = np.float32(0.5)


def write_model(folder: Path) -> Path:
    """A model with one tensor outside, one inside, and one node with attributes of every kind."""
    outside = TensorProto(name="weight", data_type=TensorProto.FLOAT16, dims=[4, 6])
    outside.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "model.onnx.data"), ("offset", "16"), ("length", "48")):
        outside.external_data.add(key=key, value=value)
    node = helper.make_node(
        "Thing", ["x", "weight"], ["y"], domain="trt_edgellm", number=-3, real=0.125, text="abc", reals=[0.5, 2.0],
        whole=[1, -2],
    )  # fmt: skip
    node.metadata_props.add(key="where", value="somewhere")
    graph = helper.make_graph(
        [node, helper.make_node("Add", ["y", "small"], ["z"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, ["tokens", 4])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, "tokens"])],
        [outside, numpy_helper.from_array(np.asarray(SMALL), "small")],
    )
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("trt_edgellm", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), str(folder / "model.onnx"))
    (folder / "model.onnx.data").write_bytes(bytes(16) + WEIGHT.tobytes() + bytes(8))
    return folder / "model.onnx"


def test_a_model_is_read_as_onnx_wrote_it(tmp_path: Path) -> None:
    graph = read_exported(write_model(tmp_path))
    assert dict(graph.opsets) == {"": 24, "trt_edgellm": 1}
    thing, add = graph.nodes
    assert (thing.op, thing.inputs, thing.outputs) == ("trt_edgellm::Thing", ("x", "weight"), ("y",))
    assert thing.attributes == {"number": -3, "real": 0.125, "text": b"abc", "reals": (0.5, 2.0), "whole": (1, -2)}
    assert (thing.has_metadata, add.has_metadata, add.op) == (True, False, "Add")
    assert graph.inputs["x"].shape == ("tokens", 4)
    assert graph.outputs["z"].shape == (1, "tokens")
    assert graph.initializers["weight"] == Initializer("weight", FLOAT16, (4, 6), 16, 48, None, "model.onnx.data")


def test_tensors_are_read_where_they_lie(tmp_path: Path) -> None:
    graph = read_exported(write_model(tmp_path))
    with TensorData(tmp_path / "model.onnx.data") as data:
        weight = graph.initializers["weight"]
        assert np.array_equal(data.whole(weight), WEIGHT)
        assert np.array_equal(data.rows(weight, 1, 3), WEIGHT[1:3])
        assert np.array_equal(data.columns(weight, 2, 5), WEIGHT.T[2:5])
        assert data.whole(graph.initializers["small"]) == SMALL


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 25},
        {"offset": -2},
        {"nbytes": 46},
        {"shape": (5, 6)},
        {"elem_type": INT8},
        {"elem_type": 99},
        {"location": "../secret"},
        {"shape": (-4, -6)},
    ],
)
def test_a_tensor_that_is_not_in_its_file_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    weight = read_exported(write_model(tmp_path)).initializers["weight"]
    with TensorData(tmp_path / "model.onnx.data") as data, pytest.raises(ToolError, match="tensor 'weight'"):
        data.whole(replace(weight, **changes))


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ToolError, match="cannot be read"):
        read_exported(path)
    with pytest.raises(ToolError, match="cannot be read"):
        read_exported(tmp_path / "none")
    with pytest.raises(ToolError, match="cannot be opened"):
        TensorData(tmp_path / "none")


def test_large_matrices_are_read_in_parts(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((3000, 1500)).astype(np.float32)
    (tmp_path / "data").write_bytes(values.tobytes())
    tensor = Initializer("m", 1, values.shape, 0, math.prod(values.shape) * 4, None, "data")
    with TensorData(tmp_path / "data") as data:
        assert np.array_equal(data.columns(tensor, 700, 900), values.T[700:900])
