"""Runs in the toolchain `optimum`: a Nomic BERT's weights to one ONNX graph that edgec writes itself, node by node.

Rule: no code of the checkpoint is run; the graph counts when it agrees with what transformers' own class gave, which
another toolchain has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import numpy as np
import onnx
import onnxruntime
import safetensors
from graph_file import write
from onnx import TensorProto, helper, numpy_helper
from random_texts import difference

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OUTPUT = "last_hidden_state"
# IR version 10: the one that onnxruntime 1.26, which emulation runs, still reads.
_IR_VERSION = 10


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """`files`: of the weights; `names`: of the tensors (see edgec.formats.onnx.nomic_bert); `heads`, `width`, `theta`,
    `epsilon`; `opset`; `out`, `beside`: the file to write, and whether its weights go into another one; `reference`:
    inputs and outputs of transformers' class.

    Answers inputs, outputs, opset, the largest difference to the reference, and versions.
    """
    os.umask(0o022)
    out = Path(request["out"])
    graph = _Graph(_Weights(request["files"]), request)
    layers = request["names"]["layers"]
    hidden = graph.embedded()
    for number, names in enumerate(layers):
        progress(number, len(layers), "layers", "writing the graph")
        hidden = graph.layer(hidden, names, f"layers.{number}")
    write(graph.finished(hidden), out.parent, out, beside=request["beside"])
    onnx.checker.check_model(str(out))
    progress(len(layers), len(layers), "layers", "comparing with torch")
    return {
        "inputs": list(_INPUTS),
        "outputs": [_OUTPUT],
        "opset": request["opset"],
        "max_difference": _difference(out, request["reference"]),
        "versions": {m.__name__: m.__version__ for m in (onnx, onnxruntime, np)},
    }


def _difference(path: Path, reference: str) -> Any:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with np.load(reference, allow_pickle=False) as arrays:
        texts = [{name: arrays[f"{name}_{n}"] for name in (*_INPUTS, "output")} for n in range(int(arrays["texts"]))]
    return max(
        difference(session.run([_OUTPUT], {n: text[n] for n in _INPUTS})[0], text["output"], text["attention_mask"])
        for text in texts
    )


class _Weights:
    """Tensors by name, in float32, each read when it is asked for."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = {name: file for file in files for name in self._names(file)}

    def _names(self, file: str) -> list[str]:
        # In torch's types: numpy has no bfloat16.
        with safetensors.safe_open(file, framework="pt") as opened:
            return list(opened.keys())

    def get(self, name: str) -> Any:
        """The values."""
        with safetensors.safe_open(self._files[name], framework="pt") as opened:
            return opened.get_tensor(name).float().numpy()


class _Graph:
    """The nodes so far; each method adds some and returns the name of what they give."""

    def __init__(self, weights: _Weights, request: dict[str, Any]) -> None:
        self._weights = weights
        self._request = request
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []
        self._constants: set[str] = set()

    def embedded(self) -> str:
        """The embedding of each token; beside it the mask and the rotation that every layer uses."""
        names = self._request["names"]
        words = self._add("Gather", [self._weight(names["words"]), "input_ids"], "words")
        types = self._add("Gather", [self._weight(names["types"]), "token_type_ids"], "types")
        self._mask()
        self._rotation()
        return self._norm(self._add("Add", [words, types], "embedded"), names["norm"], "embedding_norm")

    def layer(self, hidden: str, names: dict[str, Any], at: str) -> str:
        """One layer: attention and a gated feed-forward, each normed with what it was given."""
        attended = self._attention(hidden, names, f"{at}.attention")
        hidden = self._norm(self._add("Add", [hidden, attended], f"{at}.attended"), names["attention_norm"], at)
        up, gate = (self._linear(hidden, [f"{names[part]}.weight"], f"{at}.{part}") for part in ("up", "gate"))
        sigmoid = self._add("Sigmoid", [gate], f"{at}.sigmoid")
        gated = self._add("Mul", [self._add("Mul", [gate, sigmoid], f"{at}.silu"), up], f"{at}.gated")
        down = self._linear(gated, [f"{names['down']}.weight"], f"{at}.down")
        return self._norm(self._add("Add", [hidden, down], f"{at}.fed"), names["norm"], f"{at}.out")

    def finished(self, hidden: str) -> Any:
        """The model whose output is `hidden`."""
        self._nodes.append(helper.make_node("Identity", [hidden], [_OUTPUT], _OUTPUT))
        axes = ["batch_size", "sequence_length"]
        graph = helper.make_graph(
            self._nodes,
            "nomic_bert",
            [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in _INPUTS],
            [helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, [*axes, self._request["width"]])],
            self._tensors,
        )
        opsets = [helper.make_opsetid("", self._request["opset"])]
        return helper.make_model(graph, producer_name="edgec", opset_imports=opsets, ir_version=_IR_VERSION)

    def _attention(self, hidden: str, names: dict[str, Any], at: str) -> str:
        heads, width = self._request["heads"], self._request["width"]
        qkv = self._linear(hidden, [f"{name}.weight" for name in names["qkv"]], f"{at}.qkv")
        parts = [f"{at}.{part}" for part in "qkv"]
        self._nodes.append(helper.make_node("Split", [qkv], parts, f"{at}.split", axis=-1, num_outputs=3))
        split = self._constant("by_heads", np.array([0, 0, heads, width // heads], np.int64))
        query, key, value = (
            self._add("Transpose", [self._add("Reshape", [part, split], f"{part}_heads")], f"{part}_turned",
                      perm=[0, 2, 1, 3])
            for part in parts
        )  # fmt: skip
        key = self._add("Transpose", [self._rotated(key, f"{at}.k")], f"{at}.k_columns", perm=[0, 1, 3, 2])
        products = self._add("MatMul", [self._rotated(query, f"{at}.q"), key], f"{at}.products")
        scale = self._constant("scale", np.array((width // heads) ** -0.5, np.float32))
        scores = self._add("Add", [self._add("Mul", [products, scale], f"{at}.scaled"), "mask"], f"{at}.scores")
        shares = self._add("Softmax", [scores], f"{at}.shares", axis=-1)
        mixed = self._add("MatMul", [shares, value], f"{at}.mixed")
        turned = self._add("Transpose", [mixed], f"{at}.turned", perm=[0, 2, 1, 3])
        joined = self._add(
            "Reshape", [turned, self._constant("joined", np.array([0, 0, width], np.int64))], f"{at}.all"
        )
        return self._linear(joined, [f"{names['attention']}.weight"], f"{at}.out")

    def _mask(self) -> None:
        """0 where a token counts and the lowest float where it does not, of the shape of scores."""
        axes = self._constant("mask_axes", np.array([1, 2], np.int64))
        wide = self._add("Unsqueeze", [self._add("Cast", ["attention_mask"], "mask_float", to=TensorProto.FLOAT), axes],
                         "mask_wide")  # fmt: skip
        gone = self._add("Sub", [self._constant("one", np.array(1, np.float32)), wide], "mask_gone")
        self._add("Mul", [gone, self._constant("lowest", np.array(np.finfo(np.float32).min))], "mask")

    def _rotation(self) -> None:
        """cos and sin of each position and each half of a head."""
        head = self._request["width"] // self._request["heads"]
        speeds = (1 / self._request["theta"] ** (np.arange(0, head, 2, dtype=np.float32) / head)).astype(np.float32)
        zero, one = (self._constant(f"number_{n}", np.array(n, np.int64)) for n in (0, 1))
        shape = self._add("Shape", ["input_ids"], "shape")
        length = self._add("Gather", [shape, one], "length")
        positions = self._add("Range", [zero, length, one], "positions")
        counted = self._add("Cast", [positions], "positions_float", to=TensorProto.FLOAT)
        axis = self._constant("column", np.array([1], np.int64))
        column = self._add("Unsqueeze", [counted, axis], "position_column")
        half = self._add("Mul", [column, self._constant("speeds", speeds[None])], "half_angles")
        angles = self._add("Concat", [half, half], "angles", axis=-1)
        self._add("Cos", [angles], "cos")
        self._add("Sin", [angles], "sin")

    def _rotated(self, part: str, at: str) -> str:
        halves = [f"{at}_first", f"{at}_second"]
        self._nodes.append(helper.make_node("Split", [part], halves, f"{at}_halves", axis=-1, num_outputs=2))
        turned = self._add("Concat", [self._add("Neg", [halves[1]], f"{at}_negative"), halves[0]], f"{at}_swapped",
                           axis=-1)  # fmt: skip
        kept, added = (
            self._add("Mul", [values, angle], f"{at}_{angle}") for values, angle in ((part, "cos"), (turned, "sin"))
        )
        return self._add("Add", [kept, added], f"{at}_rotated")

    def _linear(self, given: str, names: list[str], at: str) -> str:
        """A product with the matrices, side by side, as one constant with a column for each output."""
        rows = np.concatenate([self._weights.get(name) for name in names])
        weights = self._constant(f"{at}.weight", np.ascontiguousarray(rows.T))
        return self._add("MatMul", [given, weights], at)

    def _norm(self, given: str, name: str, at: str) -> str:
        parts = [self._weight(f"{name}.{part}") for part in ("weight", "bias")]
        return self._add(
            "LayerNormalization", [given, *parts], f"{at}.normed", axis=-1, epsilon=self._request["epsilon"]
        )

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights.get(name))

    def _constant(self, name: str, value: Any) -> str:
        if name not in self._constants:
            self._constants.add(name)
            self._tensors.append(numpy_helper.from_array(value, name))
        return name

    def _add(self, kind: str, given: list[str], made: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(kind, given, [made], made, **attributes))
        return made
