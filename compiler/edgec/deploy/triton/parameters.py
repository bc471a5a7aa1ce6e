"""The settings that templates/llama_cpp/model.py reads, by the names both agree on. All values are texts.

Rule: what all versions of a model share stands in `parameters` of config.pbtxt; what belongs to one version stands in
`<version>/version.json`, so that two versions can be served at once. model.py reads both; version.json wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

VERSION_FILE = "version.json"
# From a version folder of an unpacked bundle, `triton/models/<name>/<version>/`, to the bundle's root. model.py
# resolves links before it follows this path, so a linked version folder finds the model of its own bundle.
TO_BUNDLE_ROOT = "../../../.."


@dataclass(frozen=True)
class SharedParameters:
    """`parameters` of config.pbtxt.

    `parallel`: sequences decoded at once; each has the whole context. `max_tokens`: new tokens when a request does not
    say (decoders only). `queue_size`, `queue_timeout_ms`: of requests that wait in model.py, which takes them from
    Triton at once (decoders only; elsewhere Triton's own queue policy holds). `max_documents`: of one request
    (rerankers only). `warm_up`: run a real request before the model is ready (decoders only; Triton warms
    up the others).
    """

    kind: Literal["decoder", "encoder", "reranker"]
    parallel: int
    threads: int
    warm_up: bool | None = None
    max_tokens: int | None = None
    queue_size: int | None = None
    queue_timeout_ms: int | None = None
    max_documents: int | None = None

    def texts(self) -> Mapping[str, str]:
        """Key to value, without those that the kind does not have."""
        return _texts(vars(self))


@dataclass(frozen=True)
class VersionParameters:
    """`version.json`.

    `bundle`: the bundle's name and version, for logs. `gguf_path`: the model's first file, relative to the real version
    folder. `context`: tokens of one sequence. `pooling`: llama.cpp's name (encoders and rerankers).
    `embedding_length`: elements of an embedding (encoders). `xllamacpp`: the version the model was proven with.
    `tools`: whether the chat template shows tools to the model (decoders).
    """

    bundle: str
    gguf_path: str
    context: int
    xllamacpp: str
    pooling: str | None = None
    embedding_length: int | None = None
    tools: bool | None = None

    def texts(self) -> Mapping[str, str]:
        """Key to value, without those that the kind does not have."""
        return _texts(vars(self))


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {key: _text(value) for key, value in sorted(values.items()) if value is not None}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
