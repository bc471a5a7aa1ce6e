"""Checks an exported folder without running it: the graph, its tensors and config.json are those of the plan.

Rule: nothing is believed because the exporter ended well. The device's builder would find most of this after hours, or
not at all.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgec.errors import EdgecError
from edgec.formats.edgellm.exported import ExportedWeights
from edgec.formats.edgellm.fragments import ROW_BYTES, fragment_rows
from edgec.formats.edgellm.layout import CHAT_TEMPLATE_FILE, CONFIG_FILE, EdgeLlmLayout
from edgec.formats.edgellm.limits import GROUP_SIZE
from edgec.formats.edgellm.onnx_file import DATA_FILE, MODEL_FILE, damaged
from edgec.formats.edgellm.shape import Linear, ModelShape
from edgec.formats.edgellm.wiring import INT4_GEMM, QKV_CONCAT, Weight
from edgec.source.onnx_graph import FLOAT, FLOAT16, INT32, INT64, Initializer, Node, OnnxGraph

_OPSETS = {"": 24, "trt_edgellm": 1}
_PLUGINS = frozenset((INT4_GEMM, QKV_CONCAT, "trt_edgellm::AttentionPlugin"))
_OPERATIONS = _PLUGINS | {
    "Add", "Cast", "Concat", "DequantizeLinear", "Gather", "Gemm", "MatMul", "Mul", "Pow", "QuantizeLinear",
    "Reciprocal", "ReduceMean", "Reshape", "Shape", "Sigmoid", "Sqrt", "Transpose", "Unsqueeze",
}  # fmt: skip
_KINDS: Mapping[str, frozenset[str]] = {
    "fp16": frozenset(("turned", "plain")),
    "int8_sq": frozenset(("int8",)),
}
_INT4_KINDS = frozenset(("int4",))
_PAGE_TOKENS = 128


@dataclass(frozen=True)
class StructureFacts:
    """What was found: opsets by domain, operations by type and how often, and the number of tensors."""

    opsets: Mapping[str, int]
    operations: Mapping[str, int]
    tensors: int
    edgellm_version: str


def check_structure(folder: Path, layout: EdgeLlmLayout) -> StructureFacts:
    """What the export in `folder` is made of. Raises ToolError where it is not what was planned."""
    with ExportedWeights(folder, layout.shape) as exported:
        graph, path = exported.graph, folder / MODEL_FILE
        for what in _mistakes(exported, layout):
            raise damaged(what, path)
        for tensor in graph.initializers.values():
            exported.data.check_place(tensor)
        for what in _numbers(exported):
            raise damaged(what, folder / DATA_FILE)
    version = _check_config(folder / CONFIG_FILE, layout)
    template = folder / CHAT_TEMPLATE_FILE
    if not template.is_file() or not template.read_bytes().strip():
        raise damaged("is missing or empty", template)
    counts = Counter(node.op for node in graph.nodes)
    return StructureFacts(dict(graph.opsets), dict(sorted(counts.items())), len(graph.initializers), version)


def _mistakes(exported: ExportedWeights, layout: EdgeLlmLayout) -> Iterator[str]:
    graph, shape = exported.graph, layout.shape
    if dict(graph.opsets) != _OPSETS or graph.functions:
        yield f"has the operator sets {dict(graph.opsets)} and {len(graph.functions)} functions, not {_OPSETS}"
    strangers = sorted({node.op for node in graph.nodes} - _OPERATIONS)
    if strangers:
        yield f"has operations that no such model needs: {', '.join(strangers)}"
    unused = set(graph.initializers) - {name for node in graph.nodes for name in node.inputs}
    if unused:
        yield f"has {len(unused)} tensors that nothing uses: {sorted(unused)[0]}"
    yield from _counted(graph, exported, shape)
    yield from _values("input", graph.inputs.values(), _inputs(shape))
    yield from _values("output", graph.outputs.values(), _outputs(shape))
    for node in exported.wiring.attention.values():
        yield from _attention(node, shape)
    kinds = _KINDS.get(layout.scheme, _INT4_KINDS)
    for linear in shape.linears():
        weight, _ = exported.weight(linear.name)
        yield from _linear(linear, weight, kinds)
    yield from (
        f"{node.name} has {what}" for node in graph.nodes if node.op == INT4_GEMM for what in _gemm(node, graph)
    )


def _counted(graph: OnnxGraph, exported: ExportedWeights, shape: ModelShape) -> Iterator[str]:
    """The wiring was followed from the logits: what is not on that way must not be there."""
    counts = Counter(node.op for node in graph.nodes)
    if counts["trt_edgellm::AttentionPlugin"] != shape.layers:
        yield f"has {counts['trt_edgellm::AttentionPlugin']} attention nodes for {shape.layers} layers"
    multiplications = counts["MatMul"] + counts["Gemm"] + counts[INT4_GEMM]
    if multiplications != len(exported.wiring.linears):
        yield f"multiplies matrices {multiplications} times for {len(exported.wiring.linears)} linear layers"


_Signature = Mapping[str, tuple[int, tuple[int | str, ...]]]


def _inputs(shape: ModelShape) -> _Signature:
    cache = (FLOAT16, (2, "num_pages", _PAGE_TOKENS, shape.kv_heads, shape.head_dim))
    per_sequence = ("query_lengths", "past_lengths", "attention_sequence_lengths", "state_indices")
    return {
        "inputs_embeds": (FLOAT16, ("physical_tokens", shape.hidden)),
        **{f"past_key_values_{layer}": cache for layer in range(shape.layers)},
        "rope_rotary_cos_sin": (FLOAT, ("physical_tokens", shape.head_dim)),
        "positions": (INT32, ("physical_tokens",)),
        "query_start_offsets": (INT32, ("num_sequences + 1",)),
        **dict.fromkeys(per_sequence, (INT32, ("num_sequences",))),
        "execution_phase_marker": (INT32, ("execution_phase_extent",)),
        "context_sequence_count_carrier": (INT32, ("num_context_sequences",)),
        "kv_page_table": (INT32, ("num_sequences", 2, "max_pages_per_seq")),
        "logits_indices": (INT64, ("num_sequences",)),
    }


def _outputs(shape: ModelShape) -> _Signature:
    cache = (FLOAT16, (2, "num_pages", _PAGE_TOKENS, shape.kv_heads, shape.head_dim))
    present = {f"present_key_values_{layer}": cache for layer in range(shape.layers)}
    return {"logits": (FLOAT, ("num_sequences", shape.vocabulary)), **present}


def _values(kind: str, found: Iterable[Any], expected: _Signature) -> Iterator[str]:
    seen = {value.name: (value.elem_type, value.shape) for value in found}
    if set(seen) != set(expected):
        odd = sorted(set(seen) ^ set(expected))
        yield f"has other {kind}s than Edge-LLM's runtime gives and takes: {', '.join(odd[:5])}"
        return
    for name, wanted in expected.items():
        if seen[name] != wanted:
            yield f"{kind} '{name}' is {seen[name]}, not {wanted} (element type, shape)"


def _attention(node: Node, shape: ModelShape) -> Iterator[str]:
    wanted: Mapping[str, int] = {
        "num_q_heads": shape.heads,
        "num_kv_heads": shape.kv_heads,
        "head_size": shape.head_dim,
        "sliding_window_size": -1,
        "enable_qk_norm": int(shape.has_qk_norm),
        "enable_fp8_kv_cache": 0,
        "enable_tree_attention": 0,
        "enable_vision_block_attention": 0,
    }
    for name, value in wanted.items():
        if node.attributes.get(name, 0) != value:
            yield f"attention {node.name} has {name} {node.attributes.get(name)!r}, not {value}"
    scale = node.attributes.get("attention_scale")
    if not isinstance(scale, float) or not math.isclose(scale, shape.head_dim**-0.5, rel_tol=1e-6):
        yield f"attention {node.name} has the scale {scale!r}, not 1 / sqrt({shape.head_dim})"
    if shape.has_qk_norm:
        eps = node.attributes.get("rms_norm_eps")
        if not isinstance(eps, float) or not math.isclose(eps, shape.rms_eps, rel_tol=1e-6):
            yield f"attention {node.name} has rms_norm_eps {eps!r}, not {shape.rms_eps}"


def _linear(linear: Linear, weight: Weight, kinds: frozenset[str]) -> Iterator[str]:
    rows, columns = linear.out_features, linear.in_features
    if weight.kind not in kinds:
        yield f"{linear.name} is exported as {weight.kind}, not {' or '.join(sorted(kinds))}"
    elif weight.kind == "int4":
        yield from _shaped(linear, weight.codes, (fragment_rows(rows, columns), ROW_BYTES))
        yield from _shaped(linear, weight.scales, (columns // GROUP_SIZE, rows))
    elif weight.kind == "int8":
        yield from _shaped(linear, weight.codes, (rows, columns))
        yield from _shaped(linear, weight.scales, (rows,))
    elif weight.codes.shape[-2:] not in {(columns, rows), (rows, columns)} and columns not in weight.codes.shape:
        yield f"{linear.name} has the shape {list(weight.codes.shape)}"
    if weight.pre_scale is not None:
        yield from _shaped(linear, weight.pre_scale, (columns,))


def _shaped(linear: Linear, tensor: Initializer | None, shape: tuple[int, ...]) -> Iterator[str]:
    if tensor is None or tensor.shape != shape:
        found = "no tensor" if tensor is None else f"'{tensor.name}' {list(tensor.shape)}"
        yield f"{linear.name} has {found}, where {list(shape)} belongs"


def _gemm(node: Node, graph: OnnxGraph) -> Iterator[str]:
    codes, scales = (graph.initializers[name].shape for name in node.inputs[1:3])
    rows, columns = (int(node.attributes.get(name, 0)) for name in ("gemm_n", "gemm_k"))  # type: ignore[arg-type]
    if node.attributes.get("group_size") != GROUP_SIZE:
        yield f"groups of {node.attributes.get('group_size')!r}, not {GROUP_SIZE}"
    if codes != (fragment_rows(rows, columns), ROW_BYTES) or scales != (columns // GROUP_SIZE, rows):
        yield f"gemm_n {rows} and gemm_k {columns}, but tensors {list(codes)} and {list(scales)}"


def _numbers(exported: ExportedWeights) -> Iterator[str]:
    """Numbers that must be finite, and positive where they scale; weights are compared one by one elsewhere."""
    for tensor in exported.wiring.epsilons:
        eps = float(exported.data.whole(tensor).reshape(-1)[0])
        if not math.isclose(eps, exported.shape.rms_eps, rel_tol=1e-6):
            yield f"a norm adds {eps}, not rms_norm_eps {exported.shape.rms_eps}"
    for name, weight in exported.wiring.linears.items():
        for tensor in (t for t in (weight.scales, weight.input_scale) if t is not None):
            values = exported.data.whole(tensor).astype(np.float32)
            if not (np.isfinite(values).all() and (values > 0).all()):
                yield f"the scales of {name} are not all finite and positive"


def _check_config(path: Path, layout: EdgeLlmLayout) -> str:
    """Edge-LLM's own config.json describes the planned model; returns its version."""
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise damaged(f"cannot be read: {error}", path) from error
    shape = layout.shape
    wanted: Mapping[str, Any] = {
        "edgellm_version": layout.version.number,
        "model": shape.model_type,
        "engine_role": "llm",
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.positions,
        "rope_theta": shape.rope_theta,
        "rms_norm_eps": shape.rms_eps,
        "kv_cache_dtype": "fp16",
        "partial_rotary_factor": 1.0,
    }
    for key, value in wanted.items():
        if config.get(key) != value:
            raise _wrong_config(path, key, config.get(key), value)
    rope = config.get("rope_scaling") or {}
    for key, value in {**shape.rope_parameters, "rope_type": shape.rope}.items():
        if rope.get(key, "default") != value:
            raise _wrong_config(path, f"rope_scaling.{key}", rope.get(key), value)
    return str(config["edgellm_version"])


def _wrong_config(path: Path, key: str, found: object, wanted: object) -> EdgecError:
    return damaged(f"{key} is {found!r}, not {wanted!r} as planned", path)
