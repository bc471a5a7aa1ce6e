"""An exported folder that is not what was planned is found out, whatever is wrong in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgellm_checkpoints import Exported
from onnx import helper

from edgec.errors import EdgecError, ToolError
from edgec.events import silent
from edgec.formats.edgellm.compare import compare_weights
from edgec.formats.edgellm.structure import check_structure

pytestmark = [pytest.mark.toolchain, pytest.mark.heavy("edgellm")]

ExportOnce = Callable[[str, str], Exported]


def copied(done: Exported, folder: Path) -> Path:
    """A copy of an export that may be changed."""
    shutil.copytree(done.folder, folder, dirs_exist_ok=True)
    return folder


def change(folder: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    """Edits the graph, and leaves the data as it is."""
    path = folder / "model.onnx"
    model = onnx.load(str(path), load_external_data=False)
    edit(model)
    path.write_bytes(model.SerializeToString())


def node_of(model: onnx.ModelProto, op: str, number: int = 0) -> onnx.NodeProto:
    """The node of this type and number."""
    return [n for n in model.graph.node if n.op_type == op][number]


def set_attribute(op: str, name: str, value: object) -> Callable[[onnx.ModelProto], None]:
    """An edit that gives the first node of this type another attribute."""

    def edit(model: onnx.ModelProto) -> None:
        node = node_of(model, op)
        kept = [a for a in node.attribute if a.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return edit


def swap_inputs(op: str, first: int, second: int) -> Callable[[onnx.ModelProto], None]:
    """An edit that lets two nodes of a type change their weights."""

    def edit(model: onnx.ModelProto) -> None:
        one, other = node_of(model, op, first), node_of(model, op, second)
        for place in range(1, len(one.input)):
            one.input[place], other.input[place] = other.input[place], one.input[place]

    return edit


def set_input(op: str, number: int, place: int, value: str) -> Callable[[onnx.ModelProto], None]:
    """An edit that lets a node read something else."""

    def edit(model: onnx.ModelProto) -> None:
        node_of(model, op, number).input[place] = value

    return edit


def add_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Erf", ["logits"], ["more"]))


def other_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 21


def other_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value += 1


def one_output_less(model: onnx.ModelProto) -> None:
    del model.graph.output[-1]


def unused_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float16), "stray"))


def beyond_the_data(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name.endswith("qweight"))
    next(e for e in tensor.external_data if e.key == "offset").value = str(10**9)


def into_another_file(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name.endswith("qweight"))
    next(e for e in tensor.external_data if e.key == "location").value = "/etc/passwd"


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (set_attribute("Int4GroupwiseGemmPluginV2", "group_size", 64), "groups of 64, not 128"),
        (set_attribute("Int4GroupwiseGemmPluginV2", "gemm_n", 512), "has gemm_n 512"),
        (set_attribute("AttentionPlugin", "num_q_heads", 8), "num_q_heads 8, not 4"),
        (set_attribute("AttentionPlugin", "attention_scale", 0.25), "has the scale 0.25"),
        (set_attribute("AttentionPlugin", "sliding_window_size", 64), "sliding_window_size 64, not -1"),
        (set_attribute("AttentionPlugin", "enable_fp8_kv_cache", 1), "enable_fp8_kv_cache 1, not 0"),
        # gate (number 4) and down (number 6) have other shapes.
        (swap_inputs("Int4GroupwiseGemmPluginV2", 4, 6), "where"),
        (set_input("Sigmoid", 0, 0, "logits"), "is no SiLU"),
        (set_input("AttentionPlugin", 0, 1, "past_key_values_1"), "has not the KV cache of layer 0"),
        (set_input("Pow", 1, 0, "inputs_embeds"), "is no RMS norm"),
        (set_input("Add", 0, 1, "logits"), "the graph is not the decoder"),
        (add_node, "has operations that no such model needs: Erf"),
        (other_opset, "has the operator sets"),
        (other_output, "output 'logits' is"),
        (one_output_less, "has other outputs"),
        (unused_tensor, "tensors that nothing uses: stray"),
        (beyond_the_data, "is not in the data file as announced"),
        (into_another_file, "is not in the data file as announced"),
    ],
)
def test_a_changed_graph_is_refused(
    export_once: ExportOnce, tmp_path: Path, edit: Callable[[onnx.ModelProto], None], expected: str
) -> None:
    done = export_once("qwen2", "int4_awq")
    folder = copied(done, tmp_path)
    check_structure(folder, done.layout)
    change(folder, edit)
    with pytest.raises(ToolError, match=expected):
        check_structure(folder, done.layout)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("edgellm_version", "0.10.1"),
        ("num_key_value_heads", 4),
        ("rope_theta", 500000.0),
        ("kv_cache_dtype", "fp8"),
        ("max_position_embeddings", 256),
        ("rope_scaling", {"rope_type": "llama3", "factor": 4.0}),
        ("rope_scaling", None),
    ],
)
def test_a_changed_config_is_refused(export_once: ExportOnce, tmp_path: Path, key: str, value: object) -> None:
    done = export_once("llama", "int4_gptq")
    folder = copied(done, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(ToolError, match=f"{key}.* as planned"):
        check_structure(folder, done.layout)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "config.json", "embedding.safetensors"])
def test_a_file_that_is_cut_is_refused(export_once: ExportOnce, tmp_path: Path, name: str) -> None:
    done = export_once("qwen2", "int4_awq")
    folder = copied(done, tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    with pytest.raises(EdgecError):
        check_structure(folder, done.layout)


def test_a_scheme_that_was_not_planned_is_refused(export_once: ExportOnce) -> None:
    done = export_once("qwen2", "fp16")
    with pytest.raises(ToolError, match="is exported as turned, not int4"):
        check_structure(done.folder, replace(done.layout, scheme="int4_awq"))


def test_an_empty_chat_template_is_refused(export_once: ExportOnce, tmp_path: Path) -> None:
    done = export_once("qwen2", "fp16")
    folder = copied(done, tmp_path)
    (folder / "chat_template.jinja").write_text("\n")
    with pytest.raises(ToolError, match="is missing or empty"):
        check_structure(folder, done.layout)


def poke(folder: Path, tensor: str, data: bytes, at: int = 0) -> None:
    """Overwrites bytes of a tensor in the data file."""
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    entry = next(t for t in model.graph.initializer if t.name.endswith(tensor))
    offset = int(next(e.value for e in entry.external_data if e.key == "offset"))
    with (folder / "model.onnx.data").open("rb+") as file:
        file.seek(offset + at)
        file.write(data)


@pytest.mark.parametrize(
    ("scheme", "tensor", "data"),
    [
        ("int4_awq", "model.layers.1.mlp.up_proj.qweight", b"\x11"),
        ("int4_awq", "model.layers.0.mlp.down_proj.scales", np.float16(0.37).tobytes()),
        ("int4_awq", "model.layers.0.self_attn.q_proj.bias", np.float16(9).tobytes()),
        ("int4_awq", "model.layers.1.input_layernorm.weight", np.float16(9).tobytes()),
        ("int8_sq", "model.layers.0.mlp.down_proj.weight", b"\x7b"),
        ("int8_sq", "model.layers.0.mlp.down_proj.pre_quant_scale", np.float16(9).tobytes()),
        ("int8_sq", "model.layers.0.mlp.down_proj.input_scale", np.float32(9).tobytes()),
        ("fp16", "lm_head.weight", np.float16("inf").tobytes()),
    ],
)
def test_a_changed_weight_is_found(
    export_once: ExportOnce, tmp_path: Path, scheme: str, tensor: str, data: bytes
) -> None:
    done = export_once("qwen2", scheme)
    folder = copied(done, tmp_path)
    poke(folder, tensor, data)
    with pytest.raises(ToolError, match=f"changed 1 of .* tensors: {tensor.rpartition('.')[0]}"):
        compare_weights(folder, done.layout.shape, done.checkpoint, report=silent, action="compare")


def test_changed_embeddings_are_found(export_once: ExportOnce, tmp_path: Path) -> None:
    done = export_once("qwen2", "fp16")
    folder = copied(done, tmp_path)
    path = folder / "embedding.safetensors"
    path.write_bytes(path.read_bytes()[:-2] + np.float16(9).tobytes())
    with pytest.raises(ToolError, match=r"changed 1 of .* tensors: model\.embed_tokens.weight"):
        compare_weights(folder, done.layout.shape, done.checkpoint, report=silent, action="compare")


@pytest.mark.parametrize("value", [np.float16("nan"), np.float16(0), np.float16(-1)])
def test_scales_that_do_not_scale_are_refused(export_once: ExportOnce, tmp_path: Path, value: np.float16) -> None:
    done = export_once("qwen2", "int4_awq")
    folder = copied(done, tmp_path)
    poke(folder, "layers.1.mlp.up_proj.scales", value.tobytes(), at=6)
    with pytest.raises(ToolError, match=r"the scales of model\.layers\.1\.mlp\.up_proj are not all finite"):
        check_structure(folder, done.layout)
