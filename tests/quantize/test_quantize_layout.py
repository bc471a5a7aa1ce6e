"""What is known, and refused, before a weight is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from small_models import GROUP, write_small

from edgec.errors import InputError
from edgec.quantize.layout import plan_quantized
from edgec.quantize.settings import QuantizeSettings
from edgec.source.model import CheckpointHeader
from edgec.source.quantization import Quantization

AWQ = QuantizeSettings("awq", group_size=GROUP)


def refusal(header: CheckpointHeader, settings: QuantizeSettings = AWQ) -> str:
    with pytest.raises(InputError) as caught:
        plan_quantized(header, settings)
    assert all(d.hint for d in caught.value.diagnostics)
    return str(caught.value)


def with_config(header: CheckpointHeader, **changes: Any) -> CheckpointHeader:
    return dataclasses.replace(header, config={**header.config, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"architectures": ["GemmaForCausalLM"]},
            "architecture 'GemmaForCausalLM' is not one that is quantized or compared",
        ),
        ({"architectures": None}, "architecture 'None'"),
        ({"architectures": []}, "architecture '[]'"),
        ({"rms_norm_eps": None}, "rms_norm_eps is missing, but must be a positive number"),
        ({"rms_norm_eps": "a"}, 'rms_norm_eps is "a", but must be a positive number'),
        ({"rms_norm_eps": -1}, "rms_norm_eps is -1, but must be a positive number"),
        ({"rope_theta": [1]}, "rope_theta is [1], but must be a positive number"),
        ({"rope_scaling": {"rope_type": "linear", "factor": None}}, "factor is missing, but must be a positive"),
        ({"tie_word_embeddings": "yes"}, 'tie_word_embeddings is "yes", but must be true or false'),
        ({"eos_token_id": 999_999}, "eos_token_id is 999999, and the vocabulary has"),
        ({"eos_token_id": ["x"]}, 'eos_token_id is ["x"], and the vocabulary has'),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', but only silu"),
        ({"num_key_value_heads": 3}, "4 attention heads cannot share 3 key-value heads evenly"),
        ({"head_dim": 15}, "the heads are 15 wide"),
        ({"num_attention_heads": 8, "head_dim": 16}, "self_attn.q_proj'"),
        ({"num_hidden_layers": 4}, "no tensor 'model.layers.3."),
        ({"num_hidden_layers": 2}, "is not a tensor of this architecture"),
        ({"vocab_size": 4000}, "config.json makes it [4000, 64]"),
        ({"num_hidden_layers": "3"}, 'num_hidden_layers is "3", but must be a positive integer'),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "rope type 'yarn' is not computed"),
        (
            {"rope_scaling": {"rope_type": "llama3", "factor": 4}},
            "low_freq_factor is missing, but must be a positive number",
        ),
        ({"tie_word_embeddings": False, "architectures": ["Qwen3ForCausalLM"]}, "self_attn.q_norm.weight'"),
    ],
)
def test_a_config_that_cannot_be(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in refusal(with_config(write_small(tmp_path).header, **changes))


def test_windows_of_tokens_stay_within_a_sliding_window(tmp_path: Path) -> None:
    header = write_small(tmp_path, "MistralForCausalLM", sliding_window=48).header
    assert plan_quantized(header, AWQ).decoder.context == 48
    assert plan_quantized(with_config(header, use_sliding_window=False), AWQ).decoder.context == 128


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (QuantizeSettings("awq", group_size=128), "groups of 128 do not divide"),
        (QuantizeSettings("awq", group_size=128), "hint: set group_size: 64"),
        (QuantizeSettings("gptq", group_size=48), "a group size of 48 is not one of 16, 32, 64, 128, 256"),
        (QuantizeSettings("rtn", group_size=GROUP, symmetric=False), "asymmetric codes are not made"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings: QuantizeSettings, said: str) -> None:
    assert said in refusal(write_small(tmp_path).header, settings)


def test_a_checkpoint_that_is_quantized_already(tmp_path: Path) -> None:
    header = dataclasses.replace(write_small(tmp_path).header, quantization=Quantization("awq", 4, 128, True))
    assert "these weights are quantized already (awq, 4 bits)" in refusal(header)


def test_the_digest_is_of_all_that_shapes_bytes(tmp_path: Path) -> None:
    header = write_small(tmp_path).header
    layouts = [
        plan_quantized(header, AWQ),
        plan_quantized(header, dataclasses.replace(AWQ, max_tokens=2048)),
        plan_quantized(header, dataclasses.replace(AWQ, method="gptq")),
        plan_quantized(with_config(header, rope_theta=20000.0), AWQ),
    ]
    assert len({layout.digest for layout in layouts}) == 4
    assert plan_quantized(header, AWQ).digest == layouts[0].digest
