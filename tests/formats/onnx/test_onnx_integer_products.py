"""What is done to a graph before integers: the same numbers in float32, less lost afterwards; in onnxruntime itself."""

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
import integer_products

RANDOM = np.random.default_rng(0)
WIDTH = 64

def model(nodes, tensors, rank=3):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", WIDTH])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [f"d{{i}}" for i in range(rank)])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(v, n) for n, v in tensors.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)

def computed(made, values):
    return onnxruntime.InferenceSession(made.SerializeToString()).run(None, {{"x": values}})[0]

def products():
    node = helper.make_node
    weights = {{n: RANDOM.normal(size=(WIDTH, WIDTH)).astype(np.float32) for n in ("a", "b")}}
    return model([node("MatMul", ["x", "a"], ["p"], "p"), node("MatMul", ["x", "b"], ["q"], "q"),
                  node("Add", ["p", "q"], ["y"], "sum")], weights)

def uneven(tokens):
    values = RANDOM.normal(size=(1, tokens, WIDTH)).astype(np.float32)
    # One token and one channel as transformers have them.
    values[:, 0] *= 20
    values[..., 5] *= 30
    return values

def even(request):
    made, values = products(), uneven(12)
    wanted = computed(made, values)
    onnx.save(made, "plain.onnx")
    integer_products.even_out(made.graph, integer_products.channel_peaks("plain.onnx", [{{"x": uneven(9)}}]))
    onnx.checker.check_model(made)
    onnx.save(made, "even.onnx")
    found = {{"float": float(np.abs(computed(made, values) - wanted).max() / np.abs(wanted).max())}}
    zeros = np.zeros_like(values)
    found["zeros"] = float(np.abs(computed(made, zeros)).max())
    rest = (slice(None), slice(1, None))
    for name in ("plain", "even"):
        quantize_dynamic(f"{{name}}.onnx", f"{{name}}-8.onnx", weight_type=QuantType.QInt8, per_channel=True)
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
        folded = integer_products.fold_shapes(made.graph)
        onnx.checker.check_model(made)
        same = all(np.array_equal(computed(made, v), w) for v, w in zip(texts, wanted))
        found.append([folded, same, sum(n.op_type == "Shape" for n in made.graph.node)])
    return {{"found": found}}

def run(request, progress):
    os.chdir(request["folder"])
    return {{"even": even, "fold": fold}}[request["what"]](request)
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


def test_tokens_and_channels_are_evened_out(optimum: Environment, tmp_path: Path) -> None:
    found = asked(optimum, tmp_path, "even")
    assert found["float"] < 1e-5
    assert found["zeros"] == 0
    assert found["even"] < found["plain"] / 5


def test_a_shape_of_the_text_s_own_dimensions_is_a_constant_and_another_is_left(
    optimum: Environment, tmp_path: Path
) -> None:
    in_order, swapped = asked(optimum, tmp_path, "fold")["found"]
    assert in_order == [1, True, 0]
    assert swapped == [0, True, 1]
