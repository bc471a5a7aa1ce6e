"""Small graphs as users export them: a classifier that knows its classes, a detector with boxes beside scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

Floats = NDArray[np.float32]
CLASSES = 6
SIDE = 32
_CELLS = 8
_SCORES = 5


class _Graph:
    """Collects nodes and weights."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, name: str, values: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, given: list[str], made: str, **more: Any) -> str:
        self.nodes.append(helper.make_node(kind, given, [made], f"/{made}", **more))
        return made

    def conv(self, given: str, name: str, sizes: tuple[int, int, int], *, stride: int = 1, gain: float = 1.4) -> str:
        outs, ins, kernel = sizes
        values = self.random.standard_normal((outs, ins, kernel, kernel)) * gain / np.sqrt(ins * kernel * kernel)
        # Trained channels differ in size.
        values *= np.exp(self.random.standard_normal((outs, 1, 1, 1)) * 0.5)
        weight = self.weight(f"{name}.weight", values.astype(np.float32))
        bias = self.weight(f"{name}.bias", (self.random.standard_normal(outs) * 0.1).astype(np.float32))
        pad = kernel // 2
        return self.node("Conv", [given, weight, bias], name, strides=[stride] * 2, pads=[pad] * 4)

    def silu(self, given: str) -> str:
        return self.node("Mul", [given, self.node("Sigmoid", [given], f"{given}.gate")], f"{given}.silu")

    def model(self, inputs: list[Any], outputs: list[Any], opset: int) -> Any:
        graph = helper.make_graph(self.nodes, "g", inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="a-test")


def classified(count: int, seed: int) -> tuple[Floats, NDArray[np.int64]]:
    """Samples of six classes, each a pattern of its own under noise, and which they are."""
    patterns = np.random.default_rng(7).standard_normal((CLASSES, 3, 8, 8)).repeat(4, axis=2).repeat(4, axis=3)
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    noise = random.standard_normal((count, 3, SIDE, SIDE)) * 0.6
    return (patterns[labels] + noise).astype(np.float32), labels


def classifier(batch: int | str = "batch", *, opset: int = 17, side: int | str = SIDE) -> Any:
    """Three convolutions, and a head that was fitted to the classes."""
    g = _Graph(0)
    name = g.node("Relu", [g.conv("images", "c1", (16, 3, 3), stride=2)], "r1")
    name = g.node("Relu", [g.conv(name, "c2", (32, 16, 3), stride=2)], "r2")
    name = g.node("Relu", [g.conv(name, "c3", (48, 32, 3), stride=2)], "r3")
    g.node("Flatten", [g.node("GlobalAveragePool", [name], "pooled")], "features")
    dims = [batch, 3, side, side]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, dims)
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 48])
    samples, labels = classified(120, 1)
    found = ReferenceEvaluator(g.model([images], [features], opset)).run(None, {"images": samples})[0]
    means = np.stack([found[labels == c].mean(axis=0) for c in range(CLASSES)])
    head = means / (found.std(axis=0) ** 2 + 1e-3)
    bias = -0.5 * (means * head).sum(axis=1)
    given = ["features", g.weight("head.weight", head.astype(np.float32)),
             g.weight("head.bias", bias.astype(np.float32))]  # fmt: skip
    g.node("Gemm", given, "logits", transB=1)
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])
    return g.model([images], [logits], opset)


def detector(side: int | str = 64, *, width: int = 16) -> Any:
    """YOLO's way: a neck that resizes and concatenates, boxes in pixels beside scores below 1 in one output."""
    g = _Graph(1)
    small = g.silu(g.conv("images", "stem", (width, 3, 3), stride=2))
    small = g.silu(g.conv(small, "down1", (2 * width, width, 3), stride=2))
    deep = g.silu(g.conv(small, "down2", (2 * width, 2 * width, 3), stride=2))
    scales = g.weight("scales", np.array([1, 1, 2, 2], np.float32))
    wide = g.node("Resize", [deep, "", scales], "wide", mode="nearest", nearest_mode="floor",
                  coordinate_transformation_mode="asymmetric")  # fmt: skip
    neck = g.silu(g.conv(g.node("Concat", [small, wide], "joined", axis=1), "neck", (2 * width, 4 * width, 3)))
    boxes = g.node("Mul", [g.conv(neck, "boxes", (4, 2 * width, 1)), g.weight("pixels", np.float32([60]))], "px")
    scores = g.node("Sigmoid", [g.conv(neck, "classes", (_SCORES, 2 * width, 1), gain=3)], "scores")
    shape_boxes = g.weight("shape_boxes", np.array([0, 4, -1], np.int64))
    shape_scores = g.weight("shape_scores", np.array([0, _SCORES, -1], np.int64))
    flat = [g.node("Reshape", [boxes, shape_boxes], "flat_boxes"),
            g.node("Reshape", [scores, shape_scores], "flat_scores")]  # fmt: skip
    g.node("Concat", flat, "output0", axis=1)
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, side, side])
    cells = (side // 4) ** 2 if isinstance(side, int) else "cells"
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 4 + _SCORES, cells])
    return g.model([images], [output], 17)


def two_towers(width: int = 64) -> Any:
    """Matrix products, two inputs, two outputs: a row of numbers and a row of whole numbers."""
    g = _Graph(2)
    random = g.random
    table = g.weight("table", random.standard_normal((10, width)).astype(np.float32))
    words = g.node("ReduceMean", [g.node("Gather", [table, "ids"], "words")], "meant", axes=[1], keepdims=0)
    inner = (random.standard_normal((2, width, 2 * width)) / np.sqrt(width)).astype(np.float32)
    left = g.node("MatMul", ["values", g.weight("left", inner[0])], "left_wide")
    right = g.node("MatMul", [words, g.weight("right", inner[1])], "right_wide")
    joined = g.node("Relu", [g.node("Add", [left, right], "both")], "relu")
    last = (random.standard_normal((2 * width, 8)) / np.sqrt(width)).astype(np.float32)
    g.node("MatMul", [joined, g.weight("last", last)], "scores")
    g.node("ReduceSum", ["ids", g.weight("axis", np.array([1], np.int64))], "total", keepdims=0)
    inputs = [helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", width]),
              helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", 4])]  # fmt: skip
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 8]),
               helper.make_tensor_value_info("total", TensorProto.INT64, ["batch"])]  # fmt: skip
    return g.model(inputs, outputs, 17)


def regressor(offset: float = 100, width: int = 64) -> Any:
    """One number from a row of them: small differences on a large offset."""
    g = _Graph(3)
    first = (g.random.standard_normal((width, 128)) / np.sqrt(width)).astype(np.float32)
    inner = g.node("Relu", [g.node("MatMul", ["row", g.weight("first", first)], "wide")], "inner")
    last = (g.random.standard_normal((128, 1)) / 11).astype(np.float32)
    value = g.node("MatMul", [inner, g.weight("last", last)], "centred")
    g.node("Add", [value, g.weight("offset", np.float32([offset]))], "value")
    row = helper.make_tensor_value_info("row", TensorProto.FLOAT, [1, width])
    found = helper.make_tensor_value_info("value", TensorProto.FLOAT, [1, 1])
    return g.model([row], [found], 17)


def rows(count: int, seed: int, width: int = 64) -> Floats:
    """Samples for the regressor."""
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


def pairs(count: int, seed: int, width: int = 64) -> dict[str, NDArray[Any]]:
    """Samples for the two towers."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((count, width)).astype(np.float32)
    return {"values": values, "ids": random.integers(0, 10, (count, 4))}


def scenes(count: int, seed: int, side: int = 64) -> Floats:
    """Samples for the detector: soft blobs on noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side]
    found = random.standard_normal((count, 3, side, side)) * 0.1 + 0.4
    for index in range(count):
        for _ in range(3):
            y, x, size = [*random.uniform(0, side, 2).tolist(), random.uniform(side / 12, side / 5)]
            blob = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * size * size))
            found[index] += blob * random.uniform(-0.6, 0.6, (3, 1, 1))
    return found.clip(0, 1).astype(np.float32)


def save(model: Any, path: Path, *, external: bool = False) -> Path:
    """Writes a model; `external`: its tensors into a file beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if external:
        onnx.save_model(model, str(path), save_as_external_data=True, location=f"{path.stem}.weights",
                        size_threshold=0)  # fmt: skip
    else:
        onnx.save_model(model, str(path))
    return path
