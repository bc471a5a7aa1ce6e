"""What is done to a graph before integers, in onnxruntime itself: the same numbers in float32, less time, less lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgec.events import silent
from edgec.formats.onnx import run
from edgec.toolchain.environments import Environment, find_toolchain, install, run_json

pytestmark = [pytest.mark.toolchain, pytest.mark.heavy("optimum")]
SCRIPT = """
import os, sys
sys.path.insert(0, {inside!r})
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
import integer_products, simpler_graph

RANDOM = np.random.default_rng(0)
WIDTH = 64

def model(nodes, tensors, rank=3):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", WIDTH])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [f"d{{i}}" for i in range(rank)])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(v, n) for n, v in tensors.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

def computed(made, values):
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, {{"x": values}})[0]

def square():
    node = helper.make_node
    weights = {{n: RANDOM.normal(size=(WIDTH, WIDTH)).astype(np.float32) for n in ("a", "b")}}
    return model([node("MatMul", ["x", "a"], ["p"], "p"), node("MatMul", ["x", "b"], ["q"], "q"),
                  node("Add", ["p", "q"], ["y"], "sum")], weights)

def feed_forward():
    node = helper.make_node
    weights = {{"a": RANDOM.normal(size=(WIDTH, 4 * WIDTH)).astype(np.float32),
                "b": RANDOM.normal(size=(4 * WIDTH, WIDTH)).astype(np.float32)}}
    return model([node("MatMul", ["x", "a"], ["p"], "p"), node("Relu", ["p"], ["r"], "r"),
                  node("MatMul", ["r", "b"], ["y"], "y")], weights)

def uneven(tokens, token=1, channel=1):
    values = RANDOM.normal(size=(1, tokens, WIDTH)).astype(np.float32)
    # One token and one channel as transformers have them.
    values[:, 0] *= token
    values[..., 5] *= channel
    return values

def even(request):
    return {{"channels": evened(square(), channel=100), "tokens": evened(feed_forward(), token=20)}}

def evened(made, **sizes):
    values = uneven(12, **sizes)
    wanted = computed(made, values)
    onnx.save(made, "plain.onnx")
    peaks = integer_products.channel_peaks("plain.onnx", [{{"x": uneven(9, **sizes)}}])
    integer_products.even_out(made.graph, peaks)
    onnx.checker.check_model(made)
    onnx.save(made, "even.onnx")
    found = {{"float": float(np.abs(computed(made, values) - wanted).max() / np.abs(wanted).max())}}
    zeros = np.zeros_like(values)
    found["zeros"] = float(np.abs(computed(made, zeros)).max())
    rest = (slice(None), slice(1, None))
    # The first product of a feed-forward would hide what the second loses.
    left_out = ["p"] if "token" in sizes else []
    for name in ("plain", "even"):
        quantize_dynamic(f"{{name}}.onnx", f"{{name}}-8.onnx", weight_type=QuantType.QInt8, per_channel=True,
                         nodes_to_exclude=left_out)
        off = computed(onnx.load(f"{{name}}-8.onnx"), values) - wanted
        found[name] = float(np.linalg.norm(off[rest]) / np.linalg.norm(wanted[rest]))
    return found

def reshaping(order):
    node, ints = helper.make_node, lambda v: np.array(v, np.int64)
    tensors = {{"w": np.eye(WIDTH, dtype=np.float32), "n0": ints(order[0]), "n1": ints(order[1]), "axis": ints([0]),
               "heads": ints([4]), "rest": ints([-1])}}
    return model([node("MatMul", ["x", "w"], ["h"]), node("Shape", ["x"], ["s"]),
                  node("Gather", ["s", "n0"], ["g0"]), node("Unsqueeze", ["g0", "axis"], ["u0"]),
                  node("Gather", ["s", "n1"], ["g1"]), node("Unsqueeze", ["g1", "axis"], ["u1"]),
                  node("Concat", ["u0", "u1", "heads", "rest"], ["shape"], axis=0),
                  node("Reshape", ["h", "shape"], ["y"])], tensors, rank=4)

def fold(request):
    found = []
    for order in ((0, 1), (1, 0)):
        made = reshaping(order)
        texts = [RANDOM.normal(size=(b, t, WIDTH)).astype(np.float32) for b, t in ((1, 7), (3, 2))]
        wanted = [computed(made, values) for values in texts]
        folded = simpler_graph.fold_shapes(made.graph)
        onnx.checker.check_model(made)
        same = all(np.array_equal(computed(made, v), w) for v, w in zip(texts, wanted))
        found.append([folded, same, sum(n.op_type == "Shape" for n in made.graph.node)])
    return {{"found": found}}

def attention(kind):
    # As exporters write it: the factor is computed of the heads' width, at every text.
    node, ints = helper.make_node, lambda v: np.array(v, np.int64)
    tensors = {{"w": RANDOM.normal(size=(WIDTH, WIDTH)).astype(np.float32), "k": np.ones((16, 16), np.float32),
               "b": RANDOM.normal(size=WIDTH).astype(np.float32), "heads": ints([0, -1, 4, 16]), "last": ints([-1]),
               "end": ints([np.iinfo(np.int64).max]), "one": np.array([1], np.float32), "axis": ints([0])}}
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Add", ["b", "h"], ["a"]),
             node("Reshape", ["a", "heads"], ["r"]), node("Transpose", ["r"], ["t"], perm=[0, 2, 1, 3]),
             node("Shape", ["x" if kind == "text" else "t"], ["s"]),
             node("Slice", ["s", "axis" if kind == "text" else "last", "end"], ["d"])]
    if kind == "text":
        # The number of texts, which is not known: one number at run time with one text only.
        nodes[-1] = node("Gather", ["s", "axis"], ["d"])
    nodes += [node("Cast", ["d"], ["f"], to=1), node("Sqrt", ["f"], ["q"]), node("Div", ["one", "q"], ["i"]),
              node("Cast", ["i"], ["c"], to=1), node("Sqrt", ["c"], ["half"]),
              node("Div" if kind == "divided" else "Mul", ["t", "half"], ["m"]),
              *([node("Mul", ["m", "half"], ["n"])] if kind == "in turn" else []),
              node("MatMul", ["n" if kind == "in turn" else "m", "k"], ["y0"])]
    other = {{"read twice": "t", "in turn": "m"}}.get(kind)
    last = [node("Identity", ["y0"], ["y"]) if other is None else node("Add", ["y0", other], ["y"])]
    return model(nodes + last, tensors, rank=4)

def factors(request):
    found = {{}}
    for kind in ("heads", "divided", "read twice", "in turn", "text"):
        made = attention(kind)
        values = RANDOM.normal(size=(1, 7, WIDTH)).astype(np.float32)
        wanted = computed(made, values)
        folded = simpler_graph.fold_factors(made.graph)
        onnx.checker.check_model(made)
        off = float(np.abs(computed(made, values) - wanted).max() / np.abs(wanted).max())
        found[kind] = [folded, off, sum(n.op_type in ("Sqrt", "Shape") for n in made.graph.node)]
    return found

def sums(request):
    node = helper.make_node
    tensors = {{"w": RANDOM.normal(size=(WIDTH, WIDTH)).astype(np.float32), "ones": np.ones(WIDTH, np.float32)}}
    made = model([node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "ones"], ["b"]), node("Add", ["b", "x"], ["a"]),
                  node("LayerNormalization", ["a", "ones"], ["n"]), node("Add", ["n", "ones"], ["c"]),
                  node("LayerNormalization", ["c", "ones"], ["y"])], tensors)
    values = RANDOM.normal(size=(2, 7, WIDTH)).astype(np.float32)
    wanted = computed(made, values)
    changed = simpler_graph.sum_before_norms(made.graph)
    onnx.checker.check_model(made)
    off = float(np.abs(computed(made, values) - wanted).max())
    return {{"changed": changed, "off": off, "kinds": [n.op_type for n in made.graph.node]}}

def run(request, progress):
    os.chdir(request["folder"])
    return {{"even": even, "fold": fold, "factors": factors, "sums": sums}}[request["what"]](request)
"""


@pytest.fixture(scope="module")
def optimum(toolchains_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    log = tmp_path_factory.mktemp("logs") / "install.log"
    return install(find_toolchain("optimum"), toolchains_root, offline=False, report=silent, log=log)


def asked(optimum: Environment, tmp_path: Path, what: str) -> dict[str, Any]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(inside=str(run.QUANTIZE_SCRIPT.parent)))
    request = {"folder": str(tmp_path), "what": what}
    return run_json(optimum, script, request, timeout_s=120, log=tmp_path / "log", memory_mib=64)


@pytest.mark.parametrize("what", ["channels", "tokens"])
def test_tokens_and_channels_are_evened_out(optimum: Environment, tmp_path: Path, what: str) -> None:
    found = asked(optimum, tmp_path, "even")[what]
    assert found["float"] < 1e-5
    assert found["zeros"] == 0
    assert found["even"] < found["plain"] / 5


def test_a_shape_of_the_text_s_own_dimensions_is_a_constant_and_another_is_left(
    optimum: Environment, tmp_path: Path
) -> None:
    in_order, swapped = asked(optimum, tmp_path, "fold")["found"]
    assert in_order == [1, True, 0]
    assert swapped == [0, True, 1]


def test_a_factor_of_the_heads_width_goes_into_the_weights_and_another_is_left(
    optimum: Environment, tmp_path: Path
) -> None:
    found = asked(optimum, tmp_path, "factors")
    for kind in ("heads", "divided"):
        folded, off, left = found[kind]
        assert (folded, left) == (1, 0)
        assert off < 1e-6
    # What the first factor gave has two readers, so that the second one must stay.
    assert found["in turn"][0] == 1
    assert found["in turn"][1] < 1e-6
    # Heads that something else reads too would be multiplied for it as well; a number of texts is not known.
    assert found["read twice"][0] == 0
    assert found["text"][0] == 0


def test_an_addition_before_a_normalization_is_a_sum_and_a_constant_s_is_left(
    optimum: Environment, tmp_path: Path
) -> None:
    found = asked(optimum, tmp_path, "sums")
    assert found["changed"] == 1
    assert found["kinds"] == ["MatMul", "Add", "Sum", "LayerNormalization", "Add", "LayerNormalization"]
    assert found["off"] < 1e-5
