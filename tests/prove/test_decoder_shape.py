"""Sizes, memory and time of a comparison in torch, from config.json alone."""

from __future__ import annotations

from typing import Any

import pytest

from edgec.errors import InputError
from edgec.prove.decoder_pair.shape import decoder_shape, pair_memory_mib, pair_timeout_s
from edgec.recipe.model import Prove

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
}  # fmt: skip
LLAMA_1B = {**LLAMA_8B, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64,
            "tie_word_embeddings": True}  # fmt: skip


def test_parameters_are_those_of_the_models() -> None:
    assert decoder_shape(LLAMA_8B).parameters == pytest.approx(8.03e9, rel=1e-3)
    assert decoder_shape(LLAMA_1B).parameters == pytest.approx(1.236e9, rel=1e-3)


def test_memory_is_of_a_layer_and_not_of_the_model() -> None:
    assert 1000 < pair_memory_mib(LLAMA_1B) < 2000
    assert 2500 < pair_memory_mib(LLAMA_8B) < 3600
    assert pair_memory_mib({**LLAMA_8B, "num_hidden_layers": 80}) == pair_memory_mib(LLAMA_8B)
    assert pair_memory_mib(LLAMA_8B, Prove(windows=64)) > pair_memory_mib(LLAMA_8B)


def test_larger_models_get_more_time_and_fewer_answers() -> None:
    small, large = decoder_shape(LLAMA_1B), decoder_shape(LLAMA_8B)
    assert small.new_tokens[0] == 8
    assert large.new_tokens == (1, "1, because every further token runs all 8.0 billion parameters on the CPU again")
    assert 3600 < pair_timeout_s(small, Prove(), 9) < pair_timeout_s(large, Prove(), 9) < 12 * 3600


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["Phi3ForCausalLM"]}, "the proof in torch knows no Phi3ForCausalLM"),
        ({"architectures": None}, "the proof in torch knows no none"),
        ({"hidden_size": "4096"}, "`hidden_size` is '4096'; it must be a number above 0"),
        ({"num_hidden_layers": None}, "`num_hidden_layers` is None"),
    ],
)
def test_a_config_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        decoder_shape({**LLAMA_8B, **changes})
