"""The predefined models of the plugin: what Dify is told about each, from the facts of the plan.

Rule: a text generator's id is stable, so that apps go on after an update. An embedding's id names its quantization, its
dimension and a digest of its weights, because Dify keeps vectors by the model's id and would mix those of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgec.deploy.features import llm_features
from edgec.deploy.model import ServedModel

# Dify spells the type of embeddings with a hyphen, their folder and key with an underscore.
_TYPES = {"decoder": ("llm", "llm"), "encoder": ("text-embedding", "text_embedding"), "reranker": ("rerank", "rerank")}
# Texts that Dify sends at once; the server works them off in its own batches.
_MAX_CHUNKS = 32
_DEFAULT_MAX_TOKENS = 512
_DIGEST_DIGITS = 8


@dataclass(frozen=True)
class PredefinedModel:
    """One model as Dify sees it. `type`: `llm`, `text-embedding`, `rerank`; `key`: its folder below `models/`."""

    id: str
    type: str
    key: str
    document: dict[str, Any]

    @property
    def path(self) -> str:
        """Where its document stands in the package."""
        return f"models/{self.key}/{self.id}.yaml"

    @property
    def features(self) -> tuple[str, ...]:
        """What a text generator can do, in Dify's words; empty for others."""
        return tuple(self.document.get("features", ()))


def predefined_models(model: ServedModel) -> tuple[PredefinedModel, ...]:
    """The models of the plugin, in the order Dify shows them."""
    type_, key = _TYPES[model.kind]
    match model.kind:
        case "decoder":
            name, shown, more = model.name, model.title, _generator(model)
        case "encoder":
            name = f"{model.name}-{model.scheme}-{model.embedding_length}d-{_short(model.weights)}"
            shown = f"{model.title} ({model.scheme}, {model.embedding_length} dimensions)"
            more = {"model_properties": {"context_size": model.context, "max_chunks": _MAX_CHUNKS}}
        case "reranker":
            name = f"{model.name}-{model.scheme}"
            shown = f"{model.title} ({model.scheme})"
            more = {"model_properties": {"context_size": model.context}}
    label = {"en_US": shown, "zh_Hans": shown.replace(" dimensions)", " 维)")}
    return (PredefinedModel(name, type_, key, {"model": name, "label": label, "model_type": type_, **more}),)


def _short(digest: str) -> str:
    """Of `sha256:<hex>` as many digits as people can compare."""
    return digest.partition(":")[2][:_DIGEST_DIGITS]


def _generator(model: ServedModel) -> dict[str, Any]:
    mode = "chat" if model.chat_template is not None else "completion"
    return {
        "features": list(llm_features(model)),
        "model_properties": {"mode": mode, "context_size": model.context},
        "parameter_rules": _parameters(model.context),
    }


def _parameters(context: int) -> list[dict[str, Any]]:
    """What an app may set. Defaults and ranges are those of llama.cpp's server, where Dify's are others."""
    return [
        {"name": "temperature", "use_template": "temperature", "default": 0.8, "min": 0.0, "max": 2.0},
        {"name": "top_p", "use_template": "top_p", "default": 0.95},
        {"name": "top_k", "use_template": "top_k", "default": 40},
        {"name": "presence_penalty", "use_template": "presence_penalty", "min": -2.0, "max": 2.0},
        {"name": "frequency_penalty", "use_template": "frequency_penalty", "min": -2.0, "max": 2.0},
        {
            "name": "max_tokens",
            "use_template": "max_tokens",
            "default": max(1, min(_DEFAULT_MAX_TOKENS, context // 2)),
            "min": 1,
            "max": context,
        },
        {
            "name": "seed",
            "type": "int",
            "label": {"en_US": "Seed", "zh_Hans": "随机种子"},
            "help": {
                "en_US": "The same seed and settings give the same answer. Left out: another answer each time.",
                "zh_Hans": "相同的种子和设置会得到相同的回答。不填则每次都不同。",
            },
            "required": False,
            "min": 0,
            "max": 2147483647,
        },
        {
            "name": "response_format",
            "type": "string",
            "label": {"en_US": "Response format", "zh_Hans": "回复格式"},
            "help": {
                "en_US": "`json_object`: any JSON. `json_schema`: JSON of the schema below. The server enforces it.",
                "zh_Hans": "json_object：任意 JSON。json_schema：符合下方模式的 JSON。由服务器强制保证。",
            },
            "required": False,
            "options": ["text", "json_object", "json_schema"],
        },
        {"name": "json_schema", "use_template": "json_schema"},
    ]
