"""Limits that follow from the memory, and refusals that name the number to change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import decoder_models as models
import pytest
from decoder_models import LLAMA

from edgec.errors import InputError
from edgec.formats.trtllm.engine_limits import EngineWish, engine_limits, kv_bytes_per_token
from edgec.formats.trtllm.layout import TrtLlmLayout, plan_trtllm
from edgec.source.model import CheckpointHeader, DType, TensorInfo

LLAMA_3_8B: dict[str, Any] = {
    **LLAMA, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256, "max_position_embeddings": 8192,
}  # fmt: skip
# 16 GiB less the system's share and CUDA's, as the profile of the Orin NX has it.
ORIN_NX_MIB = 16384 - 3233 - 500


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> CheckpointHeader:
    return models.plain(tmp_path_factory.mktemp("tiny"), LLAMA).header


def layout_8b(tiny: CheckpointHeader, scheme: str, kv_cache: Any = "fp16") -> TrtLlmLayout:
    """Of a header with no weights behind it."""
    shapes: dict[str, tuple[int, ...]] = {f"{n}.weight": s for n, s in models.linears(LLAMA_3_8B).items()}
    shapes |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (128256, 4096))
    shapes |= {
        f"model.layers.{i}.{n}.weight": (4096,)
        for i in range(32)
        for n in ("input_layernorm", "post_attention_layernorm")
    }
    shapes["model.norm.weight"] = (4096,)
    tensors = {n: TensorInfo(n, DType.BF16, s, "model.safetensors", 0, 0) for n, s in shapes.items()}
    header = replace(tiny, config=LLAMA_3_8B, tensors=tensors)
    return plan_trtllm(header, scheme=scheme, version="0.12.0", kv_cache=kv_cache)


def test_llama_3_8b_in_int8_on_an_orin_nx(tiny: CheckpointHeader) -> None:
    layout = layout_8b(tiny, "int8_wo")
    assert kv_bytes_per_token(layout) == 2 * 32 * 8 * 128 * 2
    wish = EngineWish(batch=8, input_tokens=512, output_tokens=256, context=4096)
    limits = engine_limits(layout, ORIN_NX_MIB, wish)
    assert (limits.max_batch_size, limits.max_input_len, limits.max_seq_len) == (8, 512, 4096)
    assert limits.max_num_tokens == 2048
    assert 8 * 768 <= limits.kv_cache_tokens <= 8 * 4096
    assert limits.kv_cache_tokens % 64 == 0
    assert limits.total_mib <= ORIN_NX_MIB
    # 6.98 G weights of 8 bits and 1.05 G of FP16.
    assert limits.weights_mib == pytest.approx((6.98e9 + 2 * 1.05e9) / 2**20, rel=0.01)
    # One more block does not fit.
    assert limits.total_mib + 64 * kv_bytes_per_token(layout) / 2**20 > ORIN_NX_MIB


def test_an_int8_cache_holds_twice_the_tokens(tiny: CheckpointHeader) -> None:
    wish = EngineWish(context=8192)
    half, whole = (engine_limits(layout_8b(tiny, "int8_wo", kv), ORIN_NX_MIB, wish) for kv in ("int8", "fp16"))
    assert half.kv_cache_tokens == pytest.approx(2 * whole.kv_cache_tokens, rel=0.05)


def test_logits_of_prompts_take_memory(tiny: CheckpointHeader) -> None:
    layout = layout_8b(tiny, "int8_wo")
    few, many = (engine_limits(layout, ORIN_NX_MIB, EngineWish(logits=x)) for x in ("generation", "context"))
    assert many.activations_mib - few.activations_mib == pytest.approx(2048 * 128256 * 6 / 2**20)


@pytest.mark.parametrize(
    ("scheme", "budget_mib", "wish", "message", "hint"),
    [
        ("fp16", ORIN_NX_MIB, EngineWish(), "the engine needs about", "use a scheme of 4 bits"),
        ("int8_wo", 9400, EngineWish(), "and 9400 MiB are there", "lower the batch from 8 to 4"),
        ("int8_wo", 9400, EngineWish(batch=2, context=8192), "MiB", "lower the batch to 1 and `context` from 8192 to"),
        ("int8_wo", 8800, EngineWish(batch=1), "MiB", "or quantize the KV cache to INT8"),
        ("int4_wo", 2000, EngineWish(), "MiB", "use a smaller model"),
        ("int8_wo", 12000, EngineWish(context=600), "do not fit a context of 600", "raise `context` to 768"),
        ("int8_wo", 12000, EngineWish(context=9000), "knows 8192 positions", "lower `context` to 8192"),
    ],
)  # fmt: skip
def test_refusals(
    tiny: CheckpointHeader, *, scheme: str, budget_mib: float, wish: EngineWish, message: str, hint: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        engine_limits(layout_8b(tiny, scheme), budget_mib, wish)
    assert hint in str(caught.value.diagnostics[0].hint)


def test_what_a_refusal_advises_fits(tiny: CheckpointHeader) -> None:
    layout = layout_8b(tiny, "int8_wo")
    assert engine_limits(layout, 9400, EngineWish(batch=4)).max_batch_size == 4
    with pytest.raises(InputError):
        engine_limits(layout, 9400, EngineWish(batch=5))


def test_a_window_is_the_longest_context(tmp_path: Path) -> None:
    mistral = {**LLAMA, "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 256}
    layout = plan_trtllm(models.plain(tmp_path, mistral).header, scheme="fp16", version="0.12.0")
    assert any("looks back 256 tokens" in note for note in layout.notes)
    wish = EngineWish(batch=1, input_tokens=100, output_tokens=100, context=257)
    with pytest.raises(InputError, match="looks back 256 tokens"):
        engine_limits(layout, 1000, wish)
    engine_limits(layout, 1000, replace(wish, context=256))
