"""Runs in the SDK's environment: reads a plugin's documents with the SDK's own models and says what it understood."""

from __future__ import annotations

import os
from typing import Any

from dify_plugin.core.entities.plugin.setup import PluginConfiguration
from dify_plugin.core.utils.yaml_loader import load_yaml_file
from dify_plugin.entities.model.provider import ModelProviderConfiguration


def run(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    os.chdir(request["folder"])
    manifest = PluginConfiguration(**load_yaml_file("manifest.yaml"))
    (path,) = manifest.plugins.models
    provider = ModelProviderConfiguration(**load_yaml_file(path))
    return {
        "manifest": manifest.model_dump(mode="json"),
        "provider": provider.model_dump(mode="json"),
        "sources": [provider.extra.python.provider_source, *provider.extra.python.model_sources],
    }
