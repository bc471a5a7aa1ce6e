"""What is planned from headers, and what is refused before a weight is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgellm_checkpoints import (
    LLAMA,
    LLAMA3,
    QWEN2,
    QWEN3,
    Arrays,
    quantized,
    random_tensors,
    write_checkpoint,
    write_quantized,
)

from edgec.errors import InputError
from edgec.formats.edgellm.layout import plan_edgellm
from edgec.formats.edgellm.versions import version_for
from edgec.source.local import open_local
from edgec.source.model import CheckpointHeader, DType

VERSION = version_for("7.2")


def header_of(folder: Path, config: Mapping[str, Any], tensors: Arrays | None = None) -> CheckpointHeader:
    """The header of a small plain checkpoint."""
    return open_local(write_checkpoint(folder, config, tensors or random_tensors(config))).header


def refusal(header: CheckpointHeader, scheme: str = "fp16") -> str:
    """Message and hint of the refusal."""
    with pytest.raises(InputError) as caught:
        plan_edgellm(header, scheme, VERSION)
    (found,) = caught.value.diagnostics
    assert found.hint
    return f"{found.message} | {found.hint}"


@pytest.mark.parametrize("config", [LLAMA, LLAMA3, QWEN2, QWEN3], ids=["llama", "llama3", "qwen2", "qwen3"])
@pytest.mark.parametrize("scheme", ["fp16", "int4_awq", "int4_gptq", "int4_rtn", "int8_sq"])
def test_a_plan_has_every_file(tmp_path: Path, config: Mapping[str, Any], scheme: str) -> None:
    layout = plan_edgellm(header_of(tmp_path, config), scheme, VERSION)
    assert {f.name for f in layout.files} == {
        "model.onnx", "model.onnx.data", "config.json", "embedding.safetensors", "chat_template.jinja",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert layout.size_bytes > layout.weight_bytes > 0
    assert layout.max_context == 512


@pytest.mark.parametrize("scheme", ["int4_awq", "int4_gptq", "int8_sq"])
def test_the_plan_is_the_same_before_and_after_quantizing(tmp_path: Path, scheme: str) -> None:
    before = plan_edgellm(header_of(tmp_path / "plain", QWEN2), scheme, VERSION)
    folder = write_quantized(tmp_path / "quantized", QWEN2, random_tensors(QWEN2), scheme)
    after = plan_edgellm(open_local(folder).header, scheme, VERSION)
    assert replace(after, notes=()) == replace(before, notes=())


def test_an_8b_model_is_planned_to_the_byte(tmp_path: Path) -> None:
    """Llama 3 8B: its shape only, no weights; the numbers are computed here by hand."""
    small = header_of(tmp_path, LLAMA)
    sizes = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    config = {**LLAMA, **sizes, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256}
    tensors = dict(small.tensors)
    for layer in range(2, 32):
        for name in [n for n in small.tensors if n.startswith("model.layers.1.")]:
            tensors[name.replace(".1.", f".{layer}.", 1)] = small.tensors[name]
    layout = plan_edgellm(replace(small, config=config, tensors=tensors), "int4_awq", VERSION)
    weights = 32 * (4096 * 4096 * 2 + 1024 * 4096 * 2 + 3 * 4096 * 14336)
    table = 128256 * 4096 * 2
    norms = 65 * 4096 * 2
    assert layout.weight_bytes == weights // 2 + weights // 128 * 2 + 2 * table + norms
    # The repacked model, and the largest layer many times over.
    assert weights // 2 >> 20 < layout.memory_mib < 8000


def test_a_bfloat16_source_needs_memory_for_its_casts(tmp_path: Path) -> None:
    config = {**LLAMA, "vocab_size": 65536}
    header = header_of(tmp_path, config, {**random_tensors(LLAMA), **tables(65536)})
    wide = {name: replace(info, dtype=DType.BF16) for name, info in header.tensors.items()}
    mapped = plan_edgellm(header, "fp16", VERSION).memory_mib
    assert plan_edgellm(replace(header, tensors=wide), "fp16", VERSION).memory_mib == mapped + 2 * 32
    # What edgec's quantizer writes is not cast.
    assert plan_edgellm(replace(header, tensors=wide), "int8_sq", VERSION).memory_mib < mapped


def tables(vocabulary: int) -> Arrays:
    """Embeddings and an output layer for so many tokens."""
    return {name: np.ones((vocabulary, 256), np.float16) for name in ("model.embed_tokens.weight", "lm_head.weight")}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"architectures": ["Gemma3ForCausalLM"]}, "not supported for this architecture: Gemma3ForCausalLM"),
        ({"architectures": None}, "not supported for this architecture: missing"),
        ({"hidden_act": "gelu"}, "the exporter always writes SiLU"),
        ({"use_sliding_window": True, "sliding_window": 128}, "would give the window to all layers"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "would give the window to all layers"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "of kind 'linear'"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "of kind 'longrope'"),
        ({"num_attention_heads": "4"}, "num_attention_heads is"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"head_dim": 96}, "the head size is 96; Edge-LLM's attention kernels are for 64, 128, 256, 512"),
        ({"num_attention_heads": 12, "num_key_value_heads": 1}, "12 query heads share a key head of size 64"),
        ({"num_attention_heads": 4, "num_key_value_heads": 3}, "is no multiple of num_key_value_heads 3"),
        ({"hidden_size": 252}, "hidden_size 252 is no multiple of 8"),
        ({"rope_scaling": {"rope_type": "yarn"}, "head_dim": 256}, "Edge-LLM computes it for 64 and 128"),
    ],
)
def test_models_that_it_does_not_compute_are_refused(tmp_path: Path, changes: Mapping[str, Any], expected: str) -> None:
    header = header_of(tmp_path, LLAMA)
    assert expected in refusal(replace(header, config={**LLAMA, **changes}))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hidden_size": 192}, "model.layers.*.self_attn.q_proj has 192 input channels"),
        ({"intermediate_size": 320}, "model.layers.*.mlp.down_proj has 320 input channels"),
        ({"hidden_size": 384, "intermediate_size": 32 + 96 * 4}, "mlp.gate_proj has 416 output channels"),
    ],
)
def test_widths_that_the_int4_kernel_does_not_take_are_refused(
    tmp_path: Path, changes: Mapping[str, Any], expected: str
) -> None:
    header = header_of(tmp_path, LLAMA)
    message = refusal(replace(header, config={**LLAMA, **changes}), "int4_awq")
    assert expected in message
    assert "use scheme int8_sq or fp16" in message


@pytest.mark.parametrize("scheme", ["fp8", "nvfp4", "q4_k_m"])
def test_an_unknown_scheme_is_refused(tmp_path: Path, scheme: str) -> None:
    assert "Orin has no FP8 and no NVFP4" in refusal(header_of(tmp_path, LLAMA), scheme)


def test_mistral_is_the_same_model_up_to_its_window(tmp_path: Path) -> None:
    config = {**LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 128}
    layout = plan_edgellm(header_of(tmp_path, config), "fp16", VERSION)
    assert layout.max_context == 128
    assert "up to 128 tokens" in layout.notes[0]


@pytest.mark.parametrize(
    ("scheme", "wanted", "expected"),
    [
        ("int4_awq", "fp16", "use scheme int4_awq"),
        ("int4_awq", "int8_sq", "use scheme int4_awq"),
        ("int8_sq", "int4_awq", "use scheme int8_sq"),
    ],
)
def test_a_ready_checkpoint_of_another_scheme_is_refused(
    tmp_path: Path, scheme: str, wanted: str, expected: str
) -> None:
    header = open_local(write_quantized(tmp_path, LLAMA, random_tensors(LLAMA), scheme)).header
    assert expected in refusal(header, wanted)


def test_other_groups_are_refused(tmp_path: Path) -> None:
    header = open_local(write_quantized(tmp_path, LLAMA, random_tensors(LLAMA), "int4_awq")).header
    assert header.quantization is not None
    other = replace(header, quantization=replace(header.quantization, group_size=64))
    assert "compute nonsense with others, without a word" in refusal(other, "int4_awq")


def test_tensors_that_the_exporter_would_leave_out_are_refused(tmp_path: Path) -> None:
    tensors = random_tensors(LLAMA)
    tensors["model.layers.0.self_attn.sinks"] = np.ones(4, np.float16)
    assert "is unknown, and the exporter would leave it out" in refusal(header_of(tmp_path, LLAMA, tensors))


@pytest.mark.parametrize("name", ["lm_head.weight", "model.norm.weight", "model.layers.1.mlp.up_proj.weight"])
def test_missing_weights_are_refused(tmp_path: Path, name: str) -> None:
    tensors = random_tensors(LLAMA)
    del tensors[name]
    assert name.removesuffix(".weight") in refusal(header_of(tmp_path, LLAMA, tensors))


def test_float32_is_refused_where_the_exporter_reads_it(tmp_path: Path) -> None:
    tensors = random_tensors(LLAMA)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].astype(np.float32)
    header = header_of(tmp_path / "plain", LLAMA, tensors)
    assert "is F32; Edge-LLM's exporter takes F16 and BF16" in refusal(header)
    # edgec's quantizer writes float16.
    plan_edgellm(header, "int4_awq", VERSION)
    folder = tmp_path / "quantized"
    write_quantized(folder, LLAMA, random_tensors(LLAMA), "int4_awq")
    config = json.loads((folder / "config.json").read_text())
    ready = {**quantized(random_tensors(LLAMA), "int4_awq"), "model.norm.weight": tensors["model.norm.weight"]}
    assert "is F32" in refusal(open_local(write_checkpoint(folder, config, ready)).header, "int4_awq")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, "the model has no chat template"),
        ([{"name": "default", "template": "{{ 1 }}"}, {"name": "tools", "template": "{{ 2 }}"}], "several named"),
        ({"default": "{{ 1 }}", "tools": "{{ 2 }}"}, "several named"),
    ],
)
def test_a_model_without_one_chat_template_is_refused(tmp_path: Path, template: object, expected: str) -> None:
    header = header_of(tmp_path, LLAMA)
    settings = {} if template is None else {"chat_template": template}
    files = {**header.files, "tokenizer_config.json": json.dumps(settings).encode()}
    assert expected in refusal(replace(header, files=files))
    plan_edgellm(replace(header, files={**files, "chat_template.jinja": b"{{ messages }}"}), "fp16", VERSION)


def test_a_single_named_chat_template_is_taken(tmp_path: Path) -> None:
    header = header_of(tmp_path, LLAMA)
    settings = {"chat_template": [{"name": "default", "template": "{{ 1 }}"}]}
    plan_edgellm(
        replace(header, files={**header.files, "tokenizer_config.json": json.dumps(settings).encode()}), "fp16", VERSION
    )


def test_a_tokenizer_config_may_grow_when_the_template_is_taken_out(tmp_path: Path) -> None:
    """The exporter indents what it writes again, which makes a compact file larger."""
    header = header_of(tmp_path, LLAMA)
    tokens = {str(i): {"content": f"<{i}>", "special": True} for i in range(1000)}
    compact = json.dumps({"added_tokens_decoder": tokens, "chat_template": "{{ 1 }}"}, separators=(",", ":"))
    files = {**header.files, "tokenizer_config.json": compact.encode()}
    planned = {f.name: f.size_bytes for f in plan_edgellm(replace(header, files=files), "fp16", VERSION).files}
    assert planned["tokenizer_config.json"] > len(json.dumps({"added_tokens_decoder": tokens}, indent=2))


def test_a_model_without_tokenizer_json_is_refused(tmp_path: Path) -> None:
    header = header_of(tmp_path, LLAMA)
    files = {name: data for name, data in header.files.items() if name != "tokenizer.json"}
    assert "tokenizer.json is missing" in refusal(replace(header, files=files))
