"""Runs an engine of TensorRT-LLM in the Python that has it. edgec starts this file and never imports it.

Engine build and run not verified on hardware: written from the sources of TensorRT-LLM 0.12 to 1.2
(`tensorrt_llm.runtime`: `ModelRunnerCpp.from_dir`, `.generate`, and the shape of what it returns).

Logits of the continuation exist only in an engine built with `--gather_generation_logits`.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import math
from pathlib import Path
from typing import Any


def run(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """`{"ask": "versions"}` or `{"ask": "generate", ...}`: see edgec/device/proof.py."""
    if request["ask"] == "versions":
        return {"backend": _version("tensorrt-llm"), "tensorrt": _version("tensorrt")}
    return _generate(request, progress)


def _generate(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    torch = importlib.import_module("torch")
    factory = importlib.import_module("tensorrt_llm.runtime").ModelRunnerCpp
    config = json.loads((Path(request["engine"]) / "config.json").read_text(encoding="utf-8"))
    has_logits = bool(config["build_config"].get("gather_generation_logits"))
    limits = request["limits"]
    # Later versions must be told; 0.12 takes it from the engine. The cache would else take nine tenths of the memory.
    wanted = {"gather_generation_logits": has_logits, "max_tokens_in_paged_kv_cache": limits["max_context"]}
    runner = factory.from_dir(
        engine_dir=request["engine"],
        max_batch_size=1,
        max_input_len=limits["max_input"],
        max_output_len=request["new_tokens"],
        max_beam_width=1,
        **_accepted(factory.from_dir, wanted),
    )
    made = []
    for index, prompt in enumerate(request["prompts"]):
        progress(index, len(request["prompts"]), "prompts")
        made.append(_continue(torch, runner, prompt["tokens"], request, has_logits=has_logits))
    why = "the engine was built without --gather_generation_logits"
    missing = [] if has_logits else [{"what": "logits", "why": why}]
    return {"runtime": f"tensorrt-llm {_version('tensorrt-llm')}", "answers": made, "not_verified": missing}


def _continue(
    torch: Any, runner: Any, tokens: list[int], request: dict[str, Any], *, has_logits: bool
) -> dict[str, Any]:
    with torch.no_grad():
        answer = runner.generate(
            [torch.tensor(tokens, dtype=torch.int32)],
            max_new_tokens=request["new_tokens"],
            # No end: the recorded continuation has its length.
            end_id=-1,
            pad_id=0,
            top_k=1,
            return_dict=True,
            output_sequence_lengths=True,
            **_accepted(runner.generate, {"output_generation_logits": has_logits}),
        )
    length = int(answer["sequence_lengths"][0][0])
    top: list[dict[str, float | None]] = []
    if has_logits:
        # Batch, beam, step, vocabulary.
        logits = answer["generation_logits"][0][0].float()
        values, indices = torch.log_softmax(logits, dim=-1).topk(request["top"], dim=-1)
        top = [
            {str(int(token)): _finite(value) for token, value in zip(row_indices, row_values, strict=True)}
            for row_indices, row_values in zip(indices, values, strict=True)
        ]
    made = [int(token) for token in answer["output_ids"][0][0][len(tokens) : length]]
    return {"token_ids": made, "log_probabilities": top[: len(made)] or None}


def _finite(value: Any) -> float | None:
    """None for what JSON has no number for: NaN and infinite."""
    number = float(value)
    return number if math.isfinite(number) else None


def _accepted(function: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Those options that this version's function has."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in known}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
