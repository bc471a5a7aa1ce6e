"""Runs an engine of TensorRT Edge-LLM in the Python that has it. edgec starts this file and never imports it.

Engine build and run not verified on hardware: written from tensorrt-edgellm 0.11.0 (`tensorrt_edgellm.runtime`, its
binding `_edgellm_runtime`, and how `experimental/server/runtime/engine.py` of the same wheel calls it).

The runtime takes text, not tokens; `prompt_token_counts` tells whether it was read as the recorded number of tokens.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
from typing import Any


def run(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """`{"ask": "versions"}` or `{"ask": "generate", ...}`: see edgec/device/proof.py."""
    if request["ask"] == "versions":
        return {"backend": _version("tensorrt-edgellm"), "tensorrt": _version("tensorrt")}
    return _generate(request, progress)


def _generate(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    native = importlib.import_module("tensorrt_edgellm.runtime").load()
    # Engine folder, no media, no LoRA; the checkpoint for engines that read their weights from it.
    engine = native.LLMRuntime(request["engine"], "", {}, request["model"])
    made, counts = [], []
    for index, prompt in enumerate(request["prompts"]):
        progress(index, len(request["prompts"]), "prompts")
        answer, count = _answer(native, engine, prompt["text"], request)
        made.append(answer)
        counts.append(count)
    missing = [] if any(one["log_probabilities"] for one in made) else [_NO_LOGITS]
    return {
        "runtime": f"tensorrt-edgellm {_version('tensorrt-edgellm')}",
        "answers": made,
        "prompt_tokens": counts if None not in counts else None,
        "not_verified": missing,
    }


_NO_LOGITS = {"what": "logits", "why": "the runtime gave no log probabilities for this engine"}


def _answer(native: Any, engine: Any, text: str, request: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    asked = native.LLMGenerationRequest()
    asked.requests = [native.Request(messages=[native.create_text_message("user", text)])]
    # The recorded text is what the model reads: no template, nothing added.
    asked.apply_chat_template = False
    asked.add_generation_prompt = False
    asked.temperature, asked.top_k, asked.top_p = 1.0, 1, 1.0
    asked.max_generate_length = request["new_tokens"]
    asked.num_logprobs = request["top"]
    response = engine.handle_request(asked)
    steps = response.logprobs[0] if response.logprobs else []
    counts = response.prompt_token_counts
    answer = {
        "token_ids": [int(token) for token in response.output_ids[0]],
        "log_probabilities": [{str(e.token_id): _finite(e.logprob) for e in step} for step in steps] or None,
    }
    return answer, int(counts[0]) if counts else None


def _finite(value: Any) -> float | None:
    """None for what JSON has no number for: NaN and infinite."""
    number = float(value)
    return number if math.isfinite(number) else None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
