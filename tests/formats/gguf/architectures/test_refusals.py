"""What cannot be converted exactly is refused, and the error names the config key or tensor and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from public_models import Shapes, bert, decoder, gemma3, header, nomic_bert, phi3, qwen2, qwen3, read_config

from edgec.errors import InputError
from edgec.formats.gguf.architectures import SUPPORTED, map_model
from edgec.source.quantization import Quantization

_SHAPES: Mapping[str, Callable[[Mapping[str, Any]], Shapes]] = {
    "SmolLM2-135M": lambda c: decoder(c, 64),
    "Llama-3.2-1B": lambda c: decoder(c, 64),
    "Mistral-7B-v0.1": lambda c: decoder(c, 128),
    "Qwen2.5-0.5B": qwen2,
    "Qwen3-0.6B": qwen3,
    "gemma-3-1b": gemma3,
    "Phi-3-mini-4k": phi3,
    "all-MiniLM-L6-v2": bert,
    "nomic-embed-text-v1.5": nomic_bert,
}
_YARN = {"rope_type": "yarn", "factor": 4.0}


def _refusal(model: str, changes: Mapping[str, Any]) -> str:
    config = read_config(model)
    shapes = _SHAPES[model](config)
    with pytest.raises(InputError) as caught:
        map_model(header({**config, **changes}, shapes), name="model")
    assert all(d.hint for d in caught.value.diagnostics)
    return str(caught.value)


def test_weights_that_only_another_file_calls_quantized() -> None:
    config = read_config("SmolLM2-135M")
    plain = header(config, _SHAPES["SmolLM2-135M"](config))
    quantized = replace(plain, quantization=Quantization("modelopt_int8_sq", 8, None, symmetric=True))
    with pytest.raises(InputError, match=r"hf_quant_config\.json: error: these weights are quantized already"):
        map_model(quantized, name="model")


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        ("SmolLM2-135M", {"hidden_act": "gelu"}, "hidden_act is 'gelu', but only 'silu' or 'swish'"),
        ("SmolLM2-135M", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config is set"),
        ("SmolLM2-135M", {"rope_scaling": {"type": "dynamic", "factor": 2}}, "rope type 'dynamic' cannot be converted"),
        ("SmolLM2-135M", {"rope_scaling": {"type": "linear"}}, "factor is missing"),
        ("SmolLM2-135M", {"rope_scaling": 2}, "rope_scaling is 2, but must be an object"),
        ("SmolLM2-135M", {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ("SmolLM2-135M", {"rope_parameters": {"full_attention": {}}}, "full_attention is {}"),
        ("SmolLM2-135M", {"num_key_value_heads": 4}, "num_key_value_heads is 4, but must be a divisor"),
        ("SmolLM2-135M", {"hidden_size": 577}, "hidden_size is 577, but must be a multiple"),
        ("SmolLM2-135M", {"head_dim": 63}, "the heads are 63 wide"),
        ("SmolLM2-135M", {"num_hidden_layers": True}, "num_hidden_layers is true, but must be a positive integer"),
        ("SmolLM2-135M", {"vocab_size": None}, "vocab_size is missing"),
        ("SmolLM2-135M", {"tie_word_embeddings": "yes"}, "tie_word_embeddings is 'yes', but must be true or false"),
        ("SmolLM2-135M", {"rms_norm_eps": float("inf")}, "rms_norm_eps is inf, but must be a positive number"),
        ("Llama-3.2-1B", {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor is missing"),
        ("Mistral-7B-v0.1", {"sliding_window": 0}, "sliding_window is 0"),
        ("Qwen2.5-0.5B", {"head_dim": 128}, "head_dim is 128, but must be 896 / 14"),
        ("Qwen2.5-0.5B", {"layer_types": ["chunked_attention"] * 24}, "layer_types is"),
        ("Qwen2.5-0.5B", {"rope_scaling": {**_YARN, "beta_fast": 16}}, "beta_fast is 16, but only 32"),
        ("Qwen2.5-0.5B", {"rope_scaling": {**_YARN, "truncate": False}}, "truncate is false"),
        ("Qwen2.5-0.5B", {"rope_scaling": {"rope_type": "mrope"}}, "rope type 'mrope'"),
        ("Qwen3-0.6B", {"attention_bias": True}, "attention_bias is true, but only false"),
        ("gemma-3-1b", {"query_pre_attn_scalar": 168}, "query_pre_attn_scalar is 168, but must be 256"),
        ("gemma-3-1b", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0, but only null"),
        ("gemma-3-1b", {"use_bidirectional_attention": True}, "use_bidirectional_attention is true"),
        ("gemma-3-1b", {"hidden_activation": "gelu"}, "hidden_activation is 'gelu'"),
        ("gemma-3-1b", {"rope_scaling": _YARN}, "rope type 'yarn'"),
        ("Phi-3-mini-4k", {"rope_scaling": {"type": "su", "long_factor": [1.0]}}, "long_factor is [1.0], but must be"),
        ("Phi-3-mini-4k", {"rope_scaling": _YARN}, "rope type 'yarn'"),
        ("all-MiniLM-L6-v2", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("all-MiniLM-L6-v2", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("all-MiniLM-L6-v2", {"is_decoder": True}, "is_decoder is true"),
        ("nomic-embed-text-v1.5", {"moe_every_n_layers": 2}, "moe_every_n_layers is 2"),
        ("nomic-embed-text-v1.5", {"activation_function": "geglu"}, "activation_function is 'geglu'"),
        ("nomic-embed-text-v1.5", {"prenorm": True}, "prenorm is true"),
        ("nomic-embed-text-v1.5", {"rotary_scaling_factor": 2.0}, "rotary_scaling_factor is 2.0"),
    ],
)
def test_options_llama_cpp_would_compute_otherwise(model: str, changes: Mapping[str, Any], said: str) -> None:
    message = _refusal(model, changes)
    assert said in message
    assert message.startswith("config.json")


@pytest.mark.parametrize("model", _SHAPES)
def test_no_value_of_any_key_is_a_crash(model: str) -> None:
    config = read_config(model)
    shapes = _SHAPES[model](config)
    keys = [*config, "rope_parameters", "rope_scaling", "layer_types", "head_dim", "sliding_window"]
    values = (None, -1, 0, 1, 0.5, "x", [], [{}], {}, {"rope_type": "longrope"}, {"type": []}, True)
    refused = [e for key in keys for value in values if (e := _error({**config, key: value}, shapes)) is not None]
    assert len(refused) > len(values)
    assert all(diagnostic.hint for error in refused for diagnostic in error.diagnostics[:8])


def _error(config: Mapping[str, Any], shapes: Shapes) -> InputError | None:
    try:
        map_model(header(config, shapes), name="model")
    except InputError as error:
        return error
    return None


@pytest.mark.parametrize("tokenizer", [{}, {"model": {"vocab": []}}, {"model": {"vocab": {"a": "b"}}}])
def test_a_damaged_tokenizer_cannot_say_which_rows_gemma_needs(tokenizer: dict[str, Any]) -> None:
    config = read_config("gemma-3-1b")
    with pytest.raises(InputError, match=r"tokenizer\.json: error: model\.vocab or added_tokens"):
        map_model(header(config, gemma3(config), {"tokenizer.json": tokenizer}), name="model")


def test_an_unknown_architecture_names_the_supported_ones_and_the_override() -> None:
    config = {**read_config("SmolLM2-135M"), "architectures": ["LlamaForCausalML"]}
    with pytest.raises(InputError) as caught:
        map_model(header(config, {}), name="model")
    message = str(caught.value)
    assert "architecture 'LlamaForCausalML' is not supported" in message
    assert "`source: {architecture: LlamaForCausalLM}`" in message
    assert all(name in message for name in SUPPORTED)


def test_an_override_counts_more_than_the_config() -> None:
    config = {**read_config("SmolLM2-135M"), "architectures": ["HomegrownForCausalLM"]}
    mapped = map_model(header(config, decoder(config, 64)), name="model", architecture="LlamaForCausalLM")
    assert mapped.arch == "llama"
    with pytest.raises(InputError, match=r"source\.architecture: error: architecture 'Llama' is not supported"):
        map_model(header(config, {}), name="model", architecture="Llama")


@pytest.mark.parametrize("architectures", [None, [], [1]])
def test_a_config_without_architectures_asks_for_the_override(architectures: object) -> None:
    config = {**read_config("SmolLM2-135M"), "architectures": architectures}
    with pytest.raises(InputError, match=r"architectures is missing[\s\S]*source: \{architecture: LlamaForCausalLM\}"):
        map_model(header(config, {}), name="model")


def test_architectures_as_a_text_shows_the_list_to_write() -> None:
    config = {**read_config("SmolLM2-135M"), "architectures": "LlamaForCausalLM"}
    with pytest.raises(InputError, match=r'must be a list[\s\S]*"architectures": \["LlamaForCausalLM"\]'):
        map_model(header(config, {}), name="model")


def test_missing_misshapen_and_unknown_tensors_are_all_named() -> None:
    config = read_config("SmolLM2-135M")
    shapes = decoder(config, 64)
    del shapes["model.norm.weight"]
    shapes["model.layers.2.mlp.up_proj.weight"] = (1536, 577)
    shapes["model.layers.0.self_attn.q_proj.lora_A.weight"] = (8, 576)
    with pytest.raises(InputError) as caught:
        map_model(header(config, shapes), name="model")
    messages = [d.message for d in caught.value.diagnostics]
    assert messages == [
        "tensor 'model.norm.weight' of shape [576] is missing",
        "tensor 'model.layers.2.mlp.up_proj.weight' has shape [1536, 577], but config.json makes it [1536, 576]",
        "tensor 'model.layers.0.self_attn.q_proj.lora_A.weight' is not part of this architecture",
    ]
    assert all(d.hint for d in caught.value.diagnostics)


def test_many_wrong_tensors_are_summed_up() -> None:
    config = read_config("SmolLM2-135M")
    with pytest.raises(InputError) as caught:
        map_model(header(config, {}), name="model")
    assert [d.message for d in caught.value.diagnostics][-1] == "and 264 more tensors like these"


def test_an_untied_head_is_not_dropped_and_a_tied_one_is() -> None:
    config = read_config("SmolLM2-135M")
    with_head = {**decoder(config, 64), "lm_head.weight": (49152, 576)}
    assert "output.weight" not in {t.name for t in map_model(header(config, with_head), name="m").tensors}
    untied = {**config, "tie_word_embeddings": False}
    assert "output.weight" in {t.name for t in map_model(header(untied, with_head), name="m").tensors}


@pytest.mark.parametrize(
    ("module", "pooling", "said"),
    [
        ("Pooling", {"pooling_mode_max_tokens": True}, "pooling max_tokens cannot be converted"),
        ("Pooling", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "pooling cls_token + mean"),
        ("Pooling", {"pooling_mode": "weightedmean"}, "pooling weightedmean cannot be converted"),
        ("Pooling", None, "1_Pooling/config.json is missing"),
        ("Dense", None, "module 'Dense' cannot be converted"),
    ],
)
def test_pooling_llama_cpp_does_not_have(module: str, pooling: dict[str, Any] | None, said: str) -> None:
    config = read_config("all-MiniLM-L6-v2")
    files: dict[str, Any] = {"modules.json": [{"path": "1_Pooling", "type": f"sentence_transformers.models.{module}"}]}
    if pooling is not None:
        files["1_Pooling/config.json"] = pooling
    with pytest.raises(InputError) as caught:
        map_model(header(config, bert(config), files), name="model")
    assert said in str(caught.value)


def test_a_damaged_small_file_is_named() -> None:
    config = read_config("SmolLM2-135M")
    good = header(config, decoder(config, 64))
    bad = type(good)(good.config, good.tensors, {"generation_config.json": b"{"}, good.identity)
    with pytest.raises(InputError, match=r"generation_config\.json: error: cannot be read"):
        map_model(bad, name="model")
    sampling = {"generation_config.json": {"temperature": "hot"}}
    with pytest.raises(InputError, match="temperature is 'hot', but must be a number"):
        map_model(header(config, decoder(config, 64), sampling), name="model")
