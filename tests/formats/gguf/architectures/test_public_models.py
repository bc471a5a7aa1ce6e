"""Public models' config.json and tensor names map as their publishers mean them; no weight and no torch is needed."""

from __future__ import annotations

from typing import Any

import pytest
from public_models import bert, decoder, gemma3, header, nomic_bert, phi3, qwen2, qwen3, read_config

from edgec.formats.gguf.architectures import map_model
from edgec.formats.gguf.model import MappedModel, TensorMapping, ValueType


def _values(mapped: MappedModel) -> dict[str, Any]:
    return {entry.key: entry.value for entry in mapped.metadata}


def _tensors(mapped: MappedModel) -> dict[str, TensorMapping]:
    return {tensor.name: tensor for tensor in mapped.tensors}


def test_llama_3_2_is_stretched_by_a_tensor_of_factors() -> None:
    config = read_config("Llama-3.2-1B")
    mapped = map_model(header(config, decoder(config, 64)), name="Llama 3.2 1B")
    values, tensors = _values(mapped), _tensors(mapped)
    assert values == {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "Llama 3.2 1B",
        "general.size_label": "1.2B",
        "general.license": "apache-2.0",
        "llama.block_count": 16,
        "llama.context_length": 131072,
        "llama.embedding_length": 2048,
        "llama.feed_forward_length": 8192,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-5, rel=1e-7),
        "llama.attention.key_length": 64,
        "llama.attention.value_length": 64,
        "llama.rope.freq_base": 500000.0,
        "llama.vocab_size": 128256,
        "llama.rope.dimension_count": 64,
    }
    factors = tensors["rope_freqs.weight"].constant
    assert factors is not None
    assert len(factors) == 32
    assert factors[0] == 1.0
    assert factors[-1] == 32.0
    # Pair 15 is blended, by hand: wavelength 2 pi 500000^(30/64) = 2948.3, blend (8192 / 2948.3 - 1) / 3 = 0.59285.
    assert factors[15] == pytest.approx(1 / ((1 - 0.59285) / 32 + 0.59285), rel=1e-4)
    assert "output.weight" not in tensors
    assert tensors["blk.3.attn_q.weight"].unpermute_heads == 32
    assert tensors["blk.3.attn_k.weight"].unpermute_heads == 8
    assert tensors["blk.3.attn_v.weight"].unpermute_heads is None


def test_smollm2_has_no_head_dim_in_its_config() -> None:
    config = read_config("SmolLM2-135M")
    mapped = map_model(header(config, decoder(config, 64)), name="SmolLM2")
    assert mapped.arch == "llama"
    assert _values(mapped)["llama.attention.key_length"] == 64
    assert _values(mapped)["general.size_label"] == "135M"
    assert (mapped.shape.n_head, mapped.shape.n_head_kv) == (9, 3)
    assert mapped.notes == ()


def test_mistral_is_cut_to_its_window_with_a_note() -> None:
    config = read_config("Mistral-7B-v0.1")
    mapped = map_model(header(config, decoder(config, 128)), name="Mistral")
    assert mapped.arch == "llama"
    assert mapped.shape.context_length == _values(mapped)["llama.context_length"] == 4096
    assert "from 32768 to 4096 tokens" in mapped.notes[0]


def test_qwen2_5_ignores_a_window_that_is_switched_off() -> None:
    config = read_config("Qwen2.5-0.5B")
    mapped = map_model(header(config, qwen2(config)), name="Qwen2.5")
    assert mapped.arch == "qwen2"
    assert mapped.shape.context_length == 32768
    assert _tensors(mapped)["blk.0.attn_k.bias"].shape == (128,)
    assert "qwen2.attention.key_length" not in _values(mapped)


def test_qwen3_has_heads_wider_than_the_model_and_norms_on_them() -> None:
    config = read_config("Qwen3-0.6B")
    mapped = map_model(header(config, qwen3(config)), name="Qwen3")
    tensors = _tensors(mapped)
    assert mapped.arch == "qwen3"
    assert tensors["blk.27.attn_q.weight"].shape == (2048, 1024)
    assert tensors["blk.27.attn_q_norm.weight"].shape == (128,)
    assert mapped.shape.head_dim_k == 128


def test_gemma_3_1b_slides_in_five_of_six_layers() -> None:
    config = read_config("gemma-3-1b")
    mapped = map_model(header(config, gemma3(config)), name="Gemma")
    values, tensors = _values(mapped), _tensors(mapped)
    assert mapped.arch == "gemma3"
    assert (mapped.shape.sliding_window, mapped.shape.n_full_attention_layers) == (512, 4)
    assert values["gemma3.attention.sliding_window"] == 512
    assert "gemma3.attention.sliding_window_pattern" not in values
    assert (values["gemma3.rope.freq_base"], values["gemma3.rope.freq_base_swa"]) == (1e6, 1e4)
    assert {t.add for n, t in tensors.items() if n.endswith("norm.weight")} == {1.0}
    assert {t.add for n, t in tensors.items() if not n.endswith("norm.weight")} == {0.0}
    assert "output.weight" not in tensors


@pytest.mark.parametrize("body", ["language_model.model.", "model.language_model."])
def test_gemma_3_4b_takes_sizes_from_the_class_and_leaves_the_images_out(body: str) -> None:
    config = read_config("gemma-3-4b")
    full = {"vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}
    shapes = {n.replace("model.", body, 1): s for n, s in gemma3({**config["text_config"], **full}).items()}
    vision = "" if body.startswith("language") else "model."
    shapes |= {f"{vision}vision_tower.vision_model.post_layernorm.weight": (1152,)}
    shapes |= {f"{vision}multi_modal_projector.mm_soft_emb_norm.weight": (1152,)}
    tokenizer = {"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 262144, "content": "<image_soft_token>"}]}
    mapped = map_model(header(config, shapes, {"tokenizer.json": tokenizer}), name="Gemma")
    embedding = _tensors(mapped)["token_embd.weight"]
    assert (embedding.rows, embedding.shape) == (262145, (262145, 2560))
    assert mapped.shape.n_vocab == 262145
    assert mapped.notes == ("63 embedding rows without a token are left out",)
    assert _values(mapped)["gemma3.rope.scaling.factor"] == 8.0
    assert mapped.shape.context_length == 131072


def test_phi_3_is_fused_and_cut_to_its_window() -> None:
    config = read_config("Phi-3-mini-4k")
    mapped = map_model(header(config, phi3(config)), name="Phi-3")
    tensors = _tensors(mapped)
    assert mapped.arch == "phi3"
    assert mapped.shape.context_length == 2047
    assert tensors["blk.0.attn_qkv.weight"].shape == (9216, 3072)
    assert tensors["blk.0.ffn_up.weight"].shape == (16384, 3072)
    assert "output.weight" in tensors


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("norm", [("weight", "bias"), ("gamma", "beta")])
def test_mini_lm_pools_as_its_modules_say(prefix: str, norm: tuple[str, str]) -> None:
    config = read_config("all-MiniLM-L6-v2")
    files = {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
        "1_Pooling/config.json": {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
    }
    mapped = map_model(header(config, bert(config, prefix, norm), files), name="MiniLM")
    values, tensors = _values(mapped), _tensors(mapped)
    assert (mapped.arch, mapped.kind) == ("bert", "encoder")
    assert values["bert.pooling_type"] == 1
    assert values["bert.attention.causal"] is False
    assert tensors["position_embd.weight"].fixed_type == "f32"
    assert tensors["token_types.weight"].fixed_type == "f32"
    assert tensors["token_embd_norm.bias"].source == f"{prefix}embeddings.LayerNorm.{norm[1]}"
    assert not any("pooler" in (t.source or "") for t in mapped.tensors)


def test_nomic_embed_is_limited_to_the_tokens_it_was_trained_on() -> None:
    config = read_config("nomic-embed-text-v1.5")
    mapped = map_model(header(config, nomic_bert(config)), name="Nomic")
    values = _values(mapped)
    assert mapped.arch == "nomic-bert"
    assert values["nomic-bert.context_length"] == 2048
    assert values["nomic-bert.rope.freq_base"] == 1000.0
    assert values["nomic-bert.attention.layer_norm_epsilon"] == pytest.approx(1e-12, rel=1e-6)
    assert _tensors(mapped)["blk.11.ffn_gate.weight"].source == "encoder.layers.11.mlp.fc12.weight"
    assert mapped.notes == ("modules.json names no pooling: the runtime gives one vector per token",)


def test_the_publishers_sampling_settings_are_kept() -> None:
    config = read_config("SmolLM2-135M")
    settings = {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.1, "do_sample": True}
    mapped = map_model(header(config, decoder(config, 64), {"generation_config.json": settings}), name="SmolLM2")
    sampling = {e.key.removeprefix("general.sampling."): e for e in mapped.metadata if "sampling" in e.key}
    assert {k: (e.type, e.value) for k, e in sampling.items()} == {
        "top_k": (ValueType.INT32, 20),
        "top_p": (ValueType.FLOAT32, pytest.approx(0.8, rel=1e-6)),
        "temp": (ValueType.FLOAT32, pytest.approx(0.7, rel=1e-6)),
        "penalty_repeat": (ValueType.FLOAT32, pytest.approx(1.1, rel=1e-6)),
    }
