"""Sizes, memory and time of a comparison in torch, from config.json alone."""

from __future__ import annotations

from typing import Any

import pytest

from edgec.prove.decoder_pair.needs import count_new_tokens, pair_memory_mib, pair_timeout_s
from edgec.quantize.architecture import read_decoder
from edgec.recipe.model import Prove

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip
LLAMA_1B: dict[str, Any] = {
    **LLAMA_8B, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64,
    "tie_word_embeddings": True,
}  # fmt: skip


def test_parameters_are_those_of_the_models() -> None:
    assert read_decoder(LLAMA_8B).parameters == pytest.approx(8.03e9, rel=1e-3)
    assert read_decoder(LLAMA_1B).parameters == pytest.approx(1.236e9, rel=1e-3)


def test_memory_is_of_a_layer_and_not_of_the_model() -> None:
    large = read_decoder(LLAMA_8B)
    assert 1000 < pair_memory_mib(read_decoder(LLAMA_1B)) < 2000
    assert 2500 < pair_memory_mib(large) < 3600
    assert pair_memory_mib(read_decoder({**LLAMA_8B, "num_hidden_layers": 80})) == pair_memory_mib(large)
    assert pair_memory_mib(large, Prove(windows=64)) > pair_memory_mib(large)


def test_larger_models_get_more_time_and_fewer_answers() -> None:
    small, large = read_decoder(LLAMA_1B), read_decoder(LLAMA_8B)
    assert count_new_tokens(small)[0] == 8
    assert count_new_tokens(large) == (
        2,
        "2, the second decoded with the KV cache: every further token runs all 8.0 billion parameters on the CPU again",
    )
    assert 3600 < pair_timeout_s(small, Prove(), 9) < pair_timeout_s(large, Prove(), 9) < 12 * 3600
