"""Follows the exported graph from its logits back to its input, and says which tensor is which weight.

Rule: names prove nothing (the exporter folds transposed weights into nameless constants, and stores equal tensors
once); what a tensor is, is where it stands. A graph that does not compute this decoder, step for step, is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgec.errors import EdgecError
from edgec.formats.edgellm.onnx_file import damaged
from edgec.formats.edgellm.shape import ModelShape
from edgec.source.onnx_graph import Initializer, Node, OnnxGraph

ATTENTION = "trt_edgellm::AttentionPlugin"
INT4_GEMM = "trt_edgellm::Int4GroupwiseGemmPluginV2"
QKV_CONCAT = "trt_edgellm::QkvConcatPlugin"


@dataclass(frozen=True)
class Weight:
    """A linear layer as exported. `kind`: float16 `plain` (out, in) or `turned` (in, out), `int4` fragments, `int8`.

    `scales`: of int4 and int8; `order`: of GPTQ's input channels; `pre_scale`, `input_scale`: done to its input.
    """

    kind: str
    codes: Initializer
    scales: Initializer | None = None
    bias: Initializer | None = None
    order: Initializer | None = None
    input_scale: Initializer | None = None
    pre_scale: Initializer | None = None


@dataclass
class Wiring:
    """What was found: linears by name (`qkv_proj` where q, k and v are one), norms by tensor, attention by layer."""

    linears: dict[str, Weight] = field(default_factory=dict)
    norms: dict[str, Initializer] = field(default_factory=dict)
    epsilons: list[Initializer] = field(default_factory=list)
    attention: dict[int, Node] = field(default_factory=dict)


def trace(graph: OnnxGraph, shape: ModelShape, path: Path) -> Wiring:
    """What the graph computes with what. Raises ToolError where it is not the decoder of `shape`."""
    return _Tracer(graph, shape, path).run()


class _Tracer:
    def __init__(self, graph: OnnxGraph, shape: ModelShape, path: Path) -> None:
        self._graph = graph
        self._shape = shape
        self._path = path
        self._made_by: Mapping[str, Node] = {out: node for node in graph.nodes for out in node.outputs}
        self._found = Wiring()

    def run(self) -> Wiring:
        """Walks from the logits to the embeddings."""
        head, value = self._linear(self._through("logits", "Reshape", "Cast"), "lm_head")
        self._found.linears["lm_head"] = head
        value = self._norm(self._through(value, "Reshape", "Gather"), "model.norm.weight")
        for layer in reversed(range(self._shape.layers)):
            value = self._attention(self._mlp(value, layer), layer)
        node = self._node(value, "Unsqueeze")
        if node.inputs[0] != "inputs_embeds":
            raise self._broken(value, "is not the input embeddings")
        return self._found

    def _mlp(self, value: str, layer: int) -> str:
        """The MLP whose sum with the residual is `value`; returns the residual."""
        at = f"model.layers.{layer}"
        residual, (down, product) = self._residual(value, f"{at}.mlp.down_proj")
        self._found.linears[f"{at}.mlp.down_proj"] = down
        silu, up_value = self._node(product, "Mul").inputs
        gate_value, gated = self._node(silu, "Mul").inputs
        if self._node(gated, "Sigmoid").inputs[0] != gate_value:
            raise self._broken(silu, "is no SiLU")
        inputs = []
        for name, output in (("gate_proj", gate_value), ("up_proj", up_value)):
            weight, source = self._linear(output, f"{at}.mlp.{name}")
            self._found.linears[f"{at}.mlp.{name}"] = weight
            inputs.append(source)
        before = self._norm(self._same(inputs, at), f"{at}.post_attention_layernorm.weight")
        if before != residual:
            raise self._broken(value, "does not add what its MLP came from")
        return residual

    def _attention(self, value: str, layer: int) -> str:
        """The attention whose sum with the residual is `value`; returns the residual."""
        at = f"model.layers.{layer}"
        residual, (output, context) = self._residual(value, f"{at}.self_attn.o_proj")
        self._found.linears[f"{at}.self_attn.o_proj"] = output
        node = self._node(self._through(context, "Reshape"), ATTENTION)
        if node.inputs[1] != f"past_key_values_{layer}" or node.outputs[1] != f"present_key_values_{layer}":
            raise self._broken(node.outputs[0], f"has not the KV cache of layer {layer}")
        self._found.attention[layer] = node
        if self._shape.has_qk_norm:
            for name, source in zip(("q", "k"), node.inputs[6:8], strict=True):
                self._found.norms[f"{at}.self_attn.{name}_norm.weight"] = self._initializer(source)
        before = self._norm(self._qkv(self._through(node.inputs[0], "Reshape"), at), f"{at}.input_layernorm.weight")
        if before != residual:
            raise self._broken(value, "does not add what its attention came from")
        return residual

    def _qkv(self, value: str, at: str) -> str:
        """The projections that make q, k and v; returns their common input."""
        joined = self._made_by.get(value)
        if joined is None or joined.op not in ("Concat", QKV_CONCAT):
            weight, source = self._linear(value, f"{at}.self_attn.qkv_proj")
            self._found.linears[f"{at}.self_attn.qkv_proj"] = weight
            return source
        sources = []
        for name, output in zip(("q_proj", "k_proj", "v_proj"), joined.inputs, strict=True):
            weight, source = self._linear(output, f"{at}.self_attn.{name}")
            self._found.linears[f"{at}.self_attn.{name}"] = weight
            sources.append(source)
        return self._same(sources, at)

    def _residual(self, value: str, name: str) -> tuple[str, tuple[Weight, str]]:
        """The two operands of an addition: the residual, and the linear layer `name` with its input."""
        first, second = self._node(value, "Add").inputs
        for residual, other in ((first, second), (second, first)):
            if self._is_linear(other):
                return residual, self._linear(other, name)
        raise self._broken(value, f"adds no {name}")

    def _is_linear(self, value: str) -> bool:
        node = self._made_by.get(value)
        if node is not None and node.op == "Add" and self._is_constant(node.inputs[1]):
            node = self._made_by.get(node.inputs[0])
        return node is not None and node.op in ("MatMul", "Gemm", INT4_GEMM)

    def _linear(self, value: str, name: str) -> tuple[Weight, str]:
        """The linear layer that makes `value`, and its input before anything that belongs to the layer."""
        bias, node = None, self._node(value)
        if node.op == "Add" and self._is_constant(node.inputs[1]):
            bias, node = self._initializer(node.inputs[1]), self._node(node.inputs[0])
        if node.op == INT4_GEMM:
            return self._int4(node, bias)
        if node.op == "Gemm":
            return Weight("plain" if node.attributes.get("transB") else "turned", self._initializer(node.inputs[1])), (
                node.inputs[0]
            )
        if node.op != "MatMul":
            raise self._broken(value, f"is made by {node.op}, where {name} is expected")
        if self._is_constant(node.inputs[1]):
            return Weight("turned", self._initializer(node.inputs[1]), bias=bias), node.inputs[0]
        return self._int8(node, bias)

    def _int4(self, node: Node, bias: Initializer | None) -> tuple[Weight, str]:
        source, order, pre_scale = node.inputs[0], None, None
        gather = self._made_by.get(source)
        if gather is not None and gather.op == "Gather" and self._is_constant(gather.inputs[1]):
            source, order = gather.inputs[0], self._initializer(gather.inputs[1])
        source, pre_scale = self._scaled(source)
        codes, scales = (self._initializer(name) for name in node.inputs[1:3])
        return Weight("int4", codes, scales, bias, order, None, pre_scale), source

    def _int8(self, node: Node, bias: Initializer | None) -> tuple[Weight, str]:
        turned = self._node(node.inputs[1], "Transpose")
        weight = self._node(self._through(turned.inputs[0], "Cast"), "DequantizeLinear")
        rounded = self._node(self._through(node.inputs[0], "Cast"), "DequantizeLinear")
        codes = self._node(rounded.inputs[0], "QuantizeLinear")
        if codes.inputs[1] != rounded.inputs[1] or weight.attributes.get("axis") != 0:
            raise self._broken(node.outputs[0], "quantizes with one scale and dequantizes with another")
        source, pre_scale = self._scaled(codes.inputs[0])
        stored, scales = (self._initializer(name) for name in weight.inputs[:2])
        input_scale = self._initializer(codes.inputs[1])
        return Weight("int8", stored, scales, bias, None, input_scale, pre_scale), source

    def _scaled(self, value: str) -> tuple[str, Initializer | None]:
        """What comes before a multiplication by a constant vector, and that vector; a norm's own is left alone."""
        node = self._made_by.get(value)
        if node is not None and node.op == "Mul" and self._is_constant(node.inputs[1]):
            return node.inputs[0], self._initializer(node.inputs[1])
        return value, None

    def _norm(self, value: str, name: str) -> str:
        """The RMS norm that makes `value`: weight * half(x / sqrt(mean(x^2) + eps)); returns x."""
        scaled = self._node(value, "Mul")
        weight, half = scaled.inputs
        if not self._is_constant(weight):
            raise self._broken(value, f"is not the norm {name}")
        self._found.norms[name] = self._initializer(weight)
        wide, inverse = self._node(self._through(half, "Cast"), "Mul").inputs
        total = self._node(self._node(self._node(inverse, "Reciprocal").inputs[0], "Sqrt").inputs[0], "Add")
        self._found.epsilons.append(self._initializer(total.inputs[1]))
        square = self._node(self._node(total.inputs[0], "ReduceMean").inputs[0], "Pow")
        if square.inputs[0] != wide:
            raise self._broken(value, "is no RMS norm")
        return self._node(wide, "Cast").inputs[0]

    def _through(self, value: str, *operations: str) -> str:
        """What comes before any of these operations."""
        while (node := self._made_by.get(value)) is not None and node.op in operations:
            value = node.inputs[0]
        return value

    def _same(self, values: list[str], at: str) -> str:
        if len(set(values)) != 1:
            raise self._broken(values[0], f"is not the one input of the projections of {at}")
        return values[0]

    def _node(self, value: str, operation: str | None = None) -> Node:
        node = self._made_by.get(value)
        if node is None or (operation is not None and node.op != operation):
            found = "nothing" if node is None else node.op
            raise self._broken(value, f"is made by {found}, not {operation or 'an operation'}")
        return node

    def _is_constant(self, name: str) -> bool:
        return name in self._graph.initializers

    def _initializer(self, name: str) -> Initializer:
        if name not in self._graph.initializers:
            raise self._broken(name, "is no constant")
        return self._graph.initializers[name]

    def _broken(self, value: str, what: str) -> EdgecError:
        return damaged(f"the graph is not the decoder that was exported: value '{value}' {what}", self._path)
