"""What this model was told: `parameters` of config.pbtxt, and `version.json` in the version folder, which wins.

Rule: every value is read and checked once, before a weight is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

Kind = Literal["decoder", "encoder", "reranker"]
VERSION_FILE = "version.json"


@dataclass(frozen=True)
class Settings:
    """`context`: tokens of one sequence; `parallel`: sequences decoded at once, each with the whole context.

    `max_tokens`: new tokens when a request does not say. `queue_size`, `queue_timeout_s`: of requests that wait for a
    free sequence. `max_documents`: of one rerank request. `xllamacpp`: the version that the model was proven with.
    `tools`: whether the model is shown the tools of a request.
    """

    bundle: str
    kind: Kind
    gguf: Path
    context: int
    parallel: int
    threads: int
    xllamacpp: str
    warm_up: bool
    max_tokens: int
    queue_size: int
    queue_timeout_s: float
    max_documents: int
    embedding_length: int | None
    tools: bool


def load_settings(model_config: Mapping[str, Any], version_folder: Path) -> Settings:
    """The settings of the version in `version_folder`. Raises ValueError that says which value is wrong."""
    # A linked version folder belongs to the bundle it came from; so does the path of its model.
    folder = version_folder.resolve()
    shared = {key: value["string_value"] for key, value in model_config.get("parameters", {}).items()}
    values = _Texts({**shared, **_version_values(folder / VERSION_FILE)})
    gguf = (folder / values.text("gguf_path")).resolve()
    if not gguf.is_file():
        raise ValueError(f"the model {gguf} is missing; unpack the whole bundle, `triton/` alone is not enough")
    kind = values.text("kind")
    if kind not in get_args(Kind):
        raise ValueError(f"`kind` is {kind!r}, not one of {', '.join(get_args(Kind))}")
    return Settings(
        bundle=values.text("bundle"),
        kind=cast("Kind", kind),
        gguf=gguf,
        context=values.positive("context"),
        parallel=values.positive("parallel"),
        threads=values.positive("threads"),
        xllamacpp=values.text("xllamacpp"),
        warm_up=values.text("warm_up", "false") == "true",
        max_tokens=values.positive("max_tokens", "512"),
        queue_size=values.positive("queue_size", "64"),
        queue_timeout_s=values.positive("queue_timeout_ms", "60000") / 1000,
        max_documents=values.positive("max_documents", "64"),
        embedding_length=values.positive("embedding_length") if kind == "encoder" else None,
        tools=values.text("tools", "true") == "true",
    )


def _version_values(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no JSON object")
    return values


@dataclass(frozen=True)
class _Texts:
    """Values that are all texts, as config.pbtxt has them."""

    values: Mapping[str, Any]

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise ValueError(f"`{key}` is missing" if value is None else f"`{key}` is not a text: {value!r}")
        return value

    def positive(self, key: str, default: str | None = None) -> int:
        text = self.text(key, default)
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f"`{key}` is {text!r}, not a whole number above 0")
        return int(text)
