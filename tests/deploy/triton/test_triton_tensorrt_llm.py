"""The TensorRT-LLM layout: what the lint and the engine's rules say of it; no server here has its backend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgec.deploy.triton.model_config import Queue
from edgec.deploy.triton.repository import checked_files
from edgec.deploy.triton.tensorrt_llm import TensorRtLlmSettings, tensorrt_llm_models

SETTINGS = TensorRtLlmSettings(
    engine_path='/engines/a "b"', max_batch_size=4, context=2048, max_input=1024, max_tokens=256, end_id=2, pad_id=0,
    queue=Queue(8, 1000),
)  # fmt: skip


def test_the_four_models_have_no_mistake() -> None:
    models = tensorrt_llm_models(SETTINGS, tokenizer=b"{}", chat_template="{{ messages }}")
    assert [m.config.name for m in models] == ["ensemble", "preprocessing", "tensorrt_llm", "postprocessing"]
    files = checked_files(models)
    assert files == checked_files(tensorrt_llm_models(SETTINGS, tokenizer=b"{}", chat_template="{{ messages }}"))
    assert files["preprocessing/1/chat_template.jinja"] == b"{{ messages }}"
    engine = files["tensorrt_llm/config.pbtxt"].decode()
    for line in (
        'key: "gpt_model_path" value { string_value: "/engines/a \\"b\\"" }',
        'key: "kv_cache_free_gpu_mem_fraction" value { string_value: "0.85" }',
        "model_transaction_policy { decoupled: true }",
    ):
        assert line in engine
    assert "max_tokens_in_paged_kv_cache" not in engine


@pytest.mark.parametrize(
    "wrong",
    [
        {"kv_cache_fraction": 1.5},
        {"kv_cache_tokens": 100},
        {"max_tokens": 2048},
        {"max_tokens": 0},
        {"max_input": 2048},
        {"max_input": 0},
    ],
)
def test_limits_that_cannot_hold(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="`"):
        replace(SETTINGS, **wrong)
