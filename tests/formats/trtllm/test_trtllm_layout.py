"""What is refused before a weight is read, each with something to do; what a layout says of itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import decoder_models as models
import numpy as np
import pytest
from decoder_models import LLAMA, QWEN2

from edgec.errors import InputError
from edgec.formats.trtllm.layout import TrtLlmLayout, plan_trtllm
from edgec.source.model import Checkpoint, CheckpointHeader


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return models.plain(tmp_path_factory.mktemp("llama"), LLAMA)


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return models.plain(tmp_path_factory.mktemp("qwen2"), QWEN2)


def plan(header: CheckpointHeader, scheme: str = "fp16", version: str = "0.12.0", **config: Any) -> TrtLlmLayout:
    changed = {k: v for k, v in {**header.config, **config}.items() if v is not ...}
    return plan_trtllm(replace(header, config=changed), scheme=scheme, version=version)


def refusal(header: CheckpointHeader, **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        plan(header, **changes)
    assert caught.value.diagnostics[0].hint
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["Qwen3ForCausalLM"]}, "checkpoints of Qwen3ForCausalLM are not written"),
        ({"architectures": ...}, "a model without `architectures`"),
        ({"num_attention_heads": 6, "head_dim": ...}, "does not divide hidden_size, 256"),
        ({"num_attention_heads": 6, "num_key_value_heads": 4}, "it does not divide the 6 attention heads"),
        ({"head_dim": 40}, "heads of 40 elements have no kernel"),
        ({"hidden_act": "gelu"}, "only silu is built"),
        ({"vocab_size": 319}, "wants floats [319, 256]"),
        ({"vocab_size": None}, "vocab_size is missing"),
        ({"num_hidden_layers": 3}, "no linear layer 'model.layers.2"),
        ({"num_hidden_layers": 1}, "nothing in a TensorRT-LLM checkpoint"),
        ({"intermediate_size": 512}, "config.json wants [512, 256]"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps is 'small'"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope type 'dynamic'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope type 'yarn'"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "factor is '0'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor is missing"),
        ({"partial_rotary_factor": 0.5}, "only a part of each head"),
        ({"scheme": "q4_k_m"}, "have no scheme 'q4_k_m'"),
        ({"version": "0.19.0"}, "TensorRT-LLM 0.19.0 is not known"),
        ({"version": "1.3.0"}, "versions after 1.2.1 have no trtllm-build"),
        ({"scheme": "int4_awq"}, "is not quantized, and INT4 AWQ is made from 4-bit weights"),
        ({"scheme": "int8_sq"}, "made from 8-bit weights"),
    ],
)
def test_refusals(llama: Checkpoint, changes: dict[str, Any], message: str) -> None:
    assert message in refusal(llama.header, **changes)


def test_refusals_of_quantized_sources(tmp_path: Path) -> None:
    four, _ = models.awq(tmp_path / "four", LLAMA)
    assert "quantized in 4 bits already, and FP16 is made from plain" in refusal(four.header)
    assert "a scheme of 4 bits (int4_awq" in refusal(four.header, scheme="int8_wo")
    assert "is quantized in 4 bits already, and INT8 SmoothQuant" in refusal(four.header, scheme="int8_sq")
    eight, _, _ = models.smoothquant(tmp_path / "eight", LLAMA)
    assert "a scheme of 8 bits (int8_sq)" in refusal(eight.header, scheme="int4_gptq")
    small, _ = models.awq(tmp_path / "small", LLAMA, group=32)
    assert "the groups of the quantized weights are 32" in refusal(small.header, scheme="int4_awq")


def test_widths_that_the_kernels_cannot_take(tmp_path: Path) -> None:
    narrow = models.plain(tmp_path, {**LLAMA, "intermediate_size": 336})
    plan(narrow.header)
    assert "has 336 output channels, and TensorRT-LLM's INT8 weight-only" in refusal(narrow.header, scheme="int8_wo")


def test_tensors_of_the_wrong_kind(llama: Checkpoint, qwen2: Checkpoint, tmp_path: Path) -> None:
    strange = models.plain(tmp_path / "a", LLAMA, **{"model.layers.0.self_attn.q_norm.weight": np.ones(64, np.float16)})
    assert "takes the tensor 'model.layers.0.self_attn.q_norm.weight'" in refusal(strange.header)
    buffers = models.plain(
        tmp_path / "b", LLAMA, **{"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(32, np.float32)}
    )
    assert plan(buffers.header).digest == plan(llama.header).digest
    untied = {n: t for n, t in llama.header.tensors.items() if n != "lm_head.weight"}
    assert "no tensor 'lm_head.weight'" in refusal(replace(llama.header, tensors=untied))
    one = {n: t for n, t in qwen2.header.tensors.items() if n != "model.layers.1.self_attn.k_proj.bias"}
    assert "has a bias, and" in refusal(replace(qwen2.header, tensors=one))
    none = {n: t for n, t in qwen2.header.tensors.items() if not n.endswith(".bias")}
    assert "Qwen2 has biases on q, k and v" in refusal(replace(qwen2.header, tensors=none))


def test_config_json_of_a_llama_3(llama: Checkpoint) -> None:
    scaling = {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    }  # fmt: skip
    old = json.loads(plan(llama.header, rope_scaling=scaling).config)
    new = plan(llama.header, rope_theta=..., rope_parameters={**scaling, "rope_theta": 500000.0})
    assert json.loads(new.config) == old
    assert old["rotary_base"] == 500000.0
    assert old["rotary_scaling"] == {**scaling, "type": "llama3"}
    assert old["head_size"] == 64
    assert old["position_embedding_type"] == "rope_gpt_neox"
    assert "qwen_type" not in old
    linear = plan(llama.header, rope_scaling={"type": "linear", "factor": 4.0})
    assert json.loads(linear.config)["rotary_scaling"] == {"type": "linear", "rope_type": "linear", "factor": 4.0}
    assert linear.shape.rope.stretch == 4.0


def test_heads_wider_than_the_residual(tmp_path: Path) -> None:
    """Mistral Nemo: head_dim is not hidden_size / heads."""
    wide = {**LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "head_dim": 128}
    layout = plan(models.plain(tmp_path, wide | {"sliding_window": None}).header)
    config = json.loads(layout.config)
    assert (config["architecture"], config["head_size"]) == ("LlamaForCausalLM", 128)
    assert layout.file.tensors["transformer.layers.0.attention.qkv.weight"].shape == (1024, 256)
    assert layout.shape.window is None


def test_qwen2(qwen2: Checkpoint) -> None:
    layout = plan(qwen2.header)
    config = json.loads(layout.config)
    assert (config["architecture"], config["qwen_type"]) == ("Qwen2ForCausalLM", "qwen2")
    assert (config["attn_bias"], config["mlp_bias"]) == (True, False)
    assert layout.shape.window is None
    assert plan(qwen2.header, use_sliding_window=True).shape.window == 128


def test_a_digest_stands_for_the_bytes(llama: Checkpoint) -> None:
    header = llama.header
    digests = {
        plan(header).digest,
        plan(header, scheme="int8_wo").digest,
        plan(header, rope_theta=1e6).digest,
        plan(header, version="1.2.1").digest,
        plan_trtllm(header, scheme="fp16", version="0.12.0", kv_cache="int8").digest,
    }
    assert len(digests) == 5
    assert plan(header).digest == plan(header, version="v0.12.0-jetson").digest
