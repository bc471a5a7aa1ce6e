"""What a Dify plugin must declare, accept and answer: each look is a list of what went wrong, empty if nothing.

Rule: an answer counts only when it holds what Dify takes from it: text, an end, counted tokens, numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgec.trial.dify_process import PluginProcess, Refusal

_TIMEOUT_S = 300.0
_TOKENS = 8
# At least one token: as many as the context has fill it, and the plugin cuts what is more.
_WORD = "weather "
_TEXTS = ("How do I open a file?", "The weather is fine today.")
_MESSAGES = [{"role": "user", "content": _TEXTS[0]}]


@dataclass(frozen=True)
class DeclaredModel:
    """A model that a package's YAML declares. `type`: as Dify spells it, for example `text-embedding`."""

    id: str
    type: str
    properties: Mapping[str, Any]


def undeclared(plugin: PluginProcess, model: DeclaredModel, credentials: Mapping[str, str]) -> list[str]:
    """How what the plugin says of a model differs from the package's YAML."""
    try:
        schema = plugin.ask("get_ai_model_schemas", **_model(model, credentials))["model_schema"]
    except Refusal as refusal:
        return [f"{model.id}: {refusal}"]
    if schema is None:
        return [f"{model.id}: the plugin does not know it"]
    if schema["model_properties"] != dict(model.properties):
        return [f"{model.id}: the plugin says {schema['model_properties']}, its YAML says {dict(model.properties)}"]
    return []


def refused_credentials(plugin: PluginProcess, credentials: Mapping[str, str]) -> list[str]:
    """Why the credentials would not be saved."""
    try:
        plugin.ask("validate_provider_credentials", timeout_s=_TIMEOUT_S, credentials=dict(credentials))
    except Refusal as refusal:
        return [refusal.message]
    return []


def bad_answers(plugin: PluginProcess, model: DeclaredModel, credentials: Mapping[str, str]) -> list[str]:
    """What is wrong with the answers of a model."""
    try:
        context = model.properties["context_size"]
        return [f"{model.id}: {fault}" for fault in _ANSWERS[model.type](plugin, _model(model, credentials), context)]
    except Refusal as refusal:
        return [f"{model.id}: {refusal}"]


def _model(model: DeclaredModel, credentials: Mapping[str, str]) -> dict[str, Any]:
    return {"model": model.id, "model_type": model.type, "credentials": dict(credentials), "timeout_s": _TIMEOUT_S}


def _text_faults(plugin: PluginProcess, model: dict[str, Any], _context: int) -> list[str]:
    request = {
        **model, "prompt_messages": _MESSAGES, "model_parameters": {"max_tokens": _TOKENS}, "stop": None, "tools": None,
    }  # fmt: skip
    faults = []
    for stream in (True, False):
        how = "streaming" if stream else "without streaming"
        deltas = [chunk["delta"] for chunk in plugin.call("invoke_llm", stream=stream, **request)]
        last = deltas[-1] if deltas else {}
        if not "".join(delta["message"]["content"] for delta in deltas):
            faults.append(f"no text, {how}")
        if not last.get("finish_reason") or not (last.get("usage") or {}).get("completion_tokens"):
            faults.append(f"no end with counted tokens, {how}")
        if not stream and len(deltas) != 1:
            faults.append(f"{len(deltas)} pieces, {how}: Dify takes the first only")
    counted = plugin.ask("get_llm_num_tokens", **model, prompt_messages=_MESSAGES, tools=None)["num_tokens"]
    return faults if counted > 0 else [*faults, "no tokens in a prompt that has some"]


def _vector_faults(plugin: PluginProcess, model: dict[str, Any], context: int) -> list[str]:
    # The SDK demands `input_type` from 0.9 on.
    answer = plugin.ask("invoke_text_embedding", **model, texts=[*_TEXTS, _WORD * context], input_type="document")
    first, second, longest = answer["embeddings"]
    faults = []
    if len({len(first), len(second), len(longest)}) != 1 or not all(map(math.isfinite, (*first, *second, *longest))):
        faults.append("the embeddings are no vectors of the same length")
    if first == second:
        faults.append("different texts have the same embedding")
    return faults


def _score_faults(plugin: PluginProcess, model: dict[str, Any], context: int) -> list[str]:
    texts = [*_TEXTS, _WORD * context]
    docs = plugin.ask("invoke_rerank", **model, query=_TEXTS[0], docs=texts, score_threshold=None, top_n=len(texts))[
        "docs"
    ]
    scores = [doc["score"] for doc in docs]
    if len(docs) != len(texts) or not all(0 <= score <= 1 for score in scores):
        return [f"the scores {scores} are not one from 0 to 1 for each document"]
    return [] if scores == sorted(scores, reverse=True) else ["the best document does not come first"]


_ANSWERS: Mapping[str, Callable[[PluginProcess, dict[str, Any], int], list[str]]] = {
    "llm": _text_faults,
    "text-embedding": _vector_faults,
    "rerank": _score_faults,
}
