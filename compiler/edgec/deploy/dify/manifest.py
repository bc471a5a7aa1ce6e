"""The plugin's manifest and its provider: who it is, what it needs, what the operator types, where its code is.

Rule: every text that edgec writes is there in English and in simplified Chinese.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgec.deploy.dify.identity import Identity
from edgec.deploy.dify.models import PredefinedModel

MANIFEST_PATH = "manifest.yaml"
PROVIDER_PATH = "provider/provider.yaml"
PROVIDER_SOURCE = "provider/provider.py"
ENTRYPOINT = "main"
# The Python that Dify's daemon makes environments with.
PYTHON = "3.12"
# What the manifest is written in, as Dify's own plugins say it.
_MANIFEST_VERSION = "0.0.1"
# What Dify shows as the plugin's need; the process takes about a third of it.
_MEMORY_BYTES = 256 << 20
_HELP_URL = "https://github.com/ggml-org/llama.cpp/tree/master/tools/server"
Text = dict[str, str]


@dataclass(frozen=True)
class Wording:
    """What people read of the plugin, each as `{"en_US": ..., "zh_Hans": ...}`."""

    label: Text
    description: Text


def manifest(identity: Identity, wording: Wording, icon: str, created: datetime.datetime) -> dict[str, Any]:
    """manifest.yaml. `icon`: a file name in `_assets`."""
    return {
        "version": identity.version,
        "type": "plugin",
        "author": identity.author,
        "name": identity.name,
        "label": wording.label,
        "description": wording.description,
        "icon": icon,
        "created_at": created,
        "privacy": "PRIVACY.md",
        "resource": {"memory": _MEMORY_BYTES},
        "plugins": {"models": [PROVIDER_PATH]},
        "meta": {
            "version": _MANIFEST_VERSION,
            "arch": ["amd64", "arm64"],
            "runner": {"language": "python", "version": PYTHON, "entrypoint": ENTRYPOINT},
        },
        "tags": [],
    }


def provider(identity: Identity, wording: Wording, icon: str, models: Sequence[PredefinedModel]) -> dict[str, Any]:
    """provider/provider.yaml: one provider whose models are all predefined, so that the operator types one URL."""
    keys = list(dict.fromkeys(model.key for model in models))
    icons = {"en_US": icon}
    return {
        "provider": identity.name,
        "label": wording.label,
        "description": wording.description,
        "icon_small": icons,
        "icon_large": icons,
        "help": {
            "title": {"en_US": "How to start the server", "zh_Hans": "如何启动服务器"},
            "url": {"en_US": _HELP_URL},
        },
        "supported_model_types": list(dict.fromkeys(model.type for model in models)),
        "configurate_methods": ["predefined-model"],
        "provider_credential_schema": {"credential_form_schemas": _credentials()},
        "models": {
            key: {"position": f"models/{key}/_position.yaml", "predefined": [f"models/{key}/*.yaml"]} for key in keys
        },
        "extra": {
            "python": {
                "provider_source": PROVIDER_SOURCE,
                "model_sources": [f"models/{key}/{key}.py" for key in keys],
            }
        },
    }


def _credentials() -> list[dict[str, Any]]:
    return [
        {
            "variable": "endpoint_url",
            "label": {"en_US": "Endpoint URL", "zh_Hans": "端点 URL"},
            "type": "text-input",
            "required": True,
            "placeholder": {
                "en_US": "http://192.168.1.20:8080/v1",
                "zh_Hans": "http://192.168.1.20:8080/v1",
            },
        },
        {
            "variable": "api_key",
            "label": {"en_US": "API key", "zh_Hans": "API 密钥"},
            "type": "secret-input",
            "required": False,
            "placeholder": {
                "en_US": "Only if the server was started with one",
                "zh_Hans": "仅当服务器启动时设置了密钥才需要",
            },
        },
    ]
