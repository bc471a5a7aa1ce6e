"""A tiny ONNX encoder: a table of vectors, one per token, so that every result can be computed with numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, checker, helper, numpy_helper, save

WIDTH = 6
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def token_table(vocabulary: int) -> npt.NDArray[np.float32]:
    """The vector of each token, shape (vocabulary, WIDTH)."""
    return np.random.default_rng(5).standard_normal((vocabulary, WIDTH)).astype(np.float32)


def write_encoder(path: Path, vocabulary: int) -> None:
    """Writes the encoder: `last_hidden_state` (batch, tokens, WIDTH); padding is far off."""
    table = numpy_helper.from_array(token_table(vocabulary), "table")
    axis = numpy_helper.from_array(np.array([2], dtype=np.int64), "axis")
    poison = numpy_helper.from_array(np.array(1e6, dtype=np.float32), "poison")
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "axis"], ["column"]),
        helper.make_node("Sub", ["column", "one"], ["padding"]),
        helper.make_node("Mul", ["padding", "poison"], ["poisoned"]),
        helper.make_node("Add", ["vectors", "poisoned"], ["last_hidden_state"]),
    ]
    one = numpy_helper.from_array(np.array(1, dtype=np.float32), "one")
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in INPUTS]
    hidden = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "tokens", WIDTH])
    graph = helper.make_graph(nodes, "encoder", ids, [hidden], initializer=[table, axis, poison, one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    save(model, path)
