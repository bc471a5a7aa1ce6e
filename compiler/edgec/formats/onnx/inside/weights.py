"""Weights of a float32 graph in fewer bits, written by edgec: matrices in 8 bits or in blocks of 4, tables row by row.

Rule: tensors are read one by one and replaced by codes, so that no second copy of the model is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from graph_file import values
from onnx import TensorProto, helper, numpy_helper

BLOCK = 32
# Smaller tables gain nothing: positions of short models, token types.
_SMALLEST_TABLE = 1 << 14
# Shares of a block's range that are tried as the range of its codes; the one with the smallest square error stays.
_SHARES = tuple(np.linspace(0.75, 1.0, 11, dtype=np.float32))
_MICROSOFT = "com.microsoft"
# Elements of a table that become codes at once.
_CHUNK = 1 << 22


def matrices(graph: Any) -> Iterator[tuple[int, Any, Any]]:
    """Index, node and weights of each product with a constant matrix, from the last."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for index, node in reversed(list(enumerate(graph.node))):
        if node.op_type == "MatMul" and node.input[1] in constants:
            yield index, node, constants[node.input[1]]


def second_matrices(graph: Any) -> list[str]:
    """Names of the products that go back from the feed-forward's width, which is the largest."""
    widest = max(tensor.dims[0] for _, _, tensor in matrices(graph))
    return [node.name for _, node, tensor in matrices(graph) if tensor.dims[0] == widest > tensor.dims[1]]


def matrices_to_int8(graph: Any, folder: Path) -> None:
    """MatMul(x, W) -> MatMul(x, DequantizeLinear(codes, scale per output)), which onnxruntime fuses."""
    done: set[str] = set()
    for index, node, tensor in list(matrices(graph)):
        _matrix_to_int8(graph, tensor, done, folder)
        _dequantize(graph, index, node)


def matrices_to_int4(model: Any, folder: Path, *, keep_attention: bool) -> None:
    """MatMul(x, W) -> MatMulNBits(x, codes, scales, zero points), a scale for each 32 weights of an output.

    `keep_attention`: all but the feed-forward gets 8 bits.
    """
    graph = model.graph
    found = list(matrices(graph))
    widest = max(tensor.dims[0] for _, _, tensor in found)
    done: set[str] = set()
    for index, node, tensor in found:
        fits = tensor.dims[0] % BLOCK == 0 and (widest in tensor.dims or not keep_attention)
        if not fits:
            _matrix_to_int8(graph, tensor, done, folder)
            _dequantize(graph, index, node)
            continue
        inputs, outputs = tensor.dims
        name = tensor.name
        if name not in done:
            codes, scales, zeros = _blocks(np.asarray(values(tensor, folder)).T.reshape(outputs, -1, BLOCK))
            made = {"q4": _packed(codes), "scale": scales.reshape(-1), "zero": _packed(_even(zeros)).reshape(-1)}
            _replace(graph, tensor, made)
            done.add(name)
        graph.node.remove(node)
        given = [node.input[0], *(f"{name}_{part}" for part in ("q4", "scale", "zero"))]
        shape = {"K": inputs, "N": outputs, "bits": 4, "block_size": BLOCK, "accuracy_level": 4}
        made_node = helper.make_node("MatMulNBits", given, list(node.output), node.name, domain=_MICROSOFT, **shape)
        graph.node.insert(index, made_node)
    _import_microsoft(model)


def tables_to_rows(model: Any, folder: Path, bits: int) -> None:
    """Tables that are looked up: in 8 bits with a scale for each row, by standard operators, or in blocks of 4 bits."""
    graph = model.graph
    tables = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2}
    readers = [node for node in graph.node if any(name in tables for name in node.input)]
    for index, node in reversed(list(enumerate(graph.node))):
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.dims[0] * table.dims[1] < _SMALLEST_TABLE:
            continue
        if sum(table.name in other.input for other in readers) > 1:
            # Tied to something else, which still needs it as it is.
            continue
        in_blocks = bits == 4 and table.dims[1] % BLOCK == 0
        made = _block_lookup(graph, node, table, folder) if in_blocks else _row_lookup(graph, node, table, folder)
        graph.node.remove(node)
        for offset, new in enumerate(made):
            graph.node.insert(index + offset, new)
    if bits == 4:
        _import_microsoft(model)


def _row_lookup(graph: Any, node: Any, table: Any, folder: Path) -> list[Any]:
    """Gather(table, i) -> Cast(Gather(codes, i)) * Gather(scales, i)."""
    name, out = table.name, node.output[0]
    codes, scales = (np.concatenate(parts) for parts in zip(*map(_rows, _chunks(table, folder)), strict=True))
    _replace(graph, table, {"q8": codes, "scale": scales})
    parts: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Gather", [f"{name}_q8", node.input[1]], f"{out}_q8", {}),
        ("Cast", [f"{out}_q8"], f"{out}_float", {"to": TensorProto.FLOAT}),
        ("Gather", [f"{name}_scale", node.input[1]], f"{out}_scale", {}),
        ("Mul", [f"{out}_float", f"{out}_scale"], out, {}),
    ]
    return [helper.make_node(k, given, [made], f"{node.name}_{n}", **more) for n, (k, given, made, more) in
            enumerate(parts)]  # fmt: skip


def _block_lookup(graph: Any, node: Any, table: Any, folder: Path) -> list[Any]:
    """Gather(table, i) -> GatherBlockQuantized(codes, i, scales, zero points)."""
    name = table.name
    found = (_blocks(rows.reshape(rows.shape[0], -1, BLOCK)) for rows in _chunks(table, folder))
    packed = ((_packed(c).reshape(c.shape[0], -1), s, _packed(_even(z))) for c, s, z in found)
    codes, scales, zeros = (np.concatenate(parts) for parts in zip(*packed, strict=True))
    _replace(graph, table, {"q4": codes, "scale": scales, "zero": zeros})
    given = [f"{name}_q4", node.input[1], f"{name}_scale", f"{name}_zero"]
    shape = {"bits": 4, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    return [helper.make_node("GatherBlockQuantized", given, list(node.output), node.name, domain=_MICROSOFT, **shape)]


def _matrix_to_int8(graph: Any, tensor: Any, done: set[str], folder: Path) -> None:
    if tensor.name not in done:
        codes, scales = _codes(values(tensor, folder), 0)
        _replace(graph, tensor, {"q8": codes, "scale": scales[0]})
        done.add(tensor.name)


def _dequantize(graph: Any, index: int, node: Any) -> None:
    name, wide = node.input[1], f"{node.name}_weights"
    given = [f"{name}_q8", f"{name}_scale"]
    graph.node.insert(index, helper.make_node("DequantizeLinear", given, [wide], f"{node.name}_dequantize", axis=1))
    node.input[1] = wide


def _chunks(table: Any, folder: Path) -> Iterator[Any]:
    array = values(table, folder)
    step = max(1, _CHUNK // array.shape[1])
    for start in range(0, array.shape[0], step):
        yield np.asarray(array[start : start + step])


def _rows(values: Any) -> tuple[Any, Any]:
    return _codes(values, 1)


def _codes(values: Any, axis: int) -> tuple[Any, Any]:
    """int8 codes and float32 scales; `axis`: the one that shares a scale."""
    scales = (np.abs(values).max(axis=axis, keepdims=True) / 127).astype(np.float32)
    scales[scales == 0] = 1
    return np.clip(np.rint(values / scales), -127, 127).astype(np.int8), scales


def _blocks(values: Any) -> tuple[Any, Any, Any]:
    """Codes of 4 bits, and a scale and a zero point for each block, which is the last axis."""
    low, high = np.minimum(values.min(-1), 0), np.maximum(values.max(-1), 0)
    best: tuple[Any, ...] = ()
    for share in _SHARES:
        scales = ((high - low) * (share / 15)).astype(np.float32)
        scales[scales == 0] = 1
        zeros = np.clip(np.rint(-low * share / scales), 0, 15).astype(np.float32)
        codes = np.clip(np.rint(values / scales[..., None]) + zeros[..., None], 0, 15)
        errors = (((codes - zeros[..., None]) * scales[..., None] - values) ** 2).sum(-1)
        found = (codes.astype(np.uint8), scales, zeros.astype(np.uint8), errors)
        if best:
            better = errors < best[3]
            found = (np.where(better[..., None], found[0], best[0]),
                     *(np.where(better, new, old) for new, old in zip(found[1:], best[1:], strict=True)))  # fmt: skip
        best = found
    return best[:3]


def _packed(codes: Any) -> Any:
    """Two codes in a byte, the first in its lower half."""
    return codes[..., 0::2] | (codes[..., 1::2] << 4)


def _even(zeros: Any) -> Any:
    """With a last column of zeros where their number is odd: rows of packed codes end at a byte."""
    return np.pad(zeros, ((0, 0), (0, zeros.shape[1] % 2)))


def _replace(graph: Any, tensor: Any, parts: dict[str, Any]) -> None:
    name = tensor.name
    graph.initializer.remove(tensor)
    graph.initializer.extend([numpy_helper.from_array(part, f"{name}_{suffix}") for suffix, part in parts.items()])


def _import_microsoft(model: Any) -> None:
    if all(entry.domain != _MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
