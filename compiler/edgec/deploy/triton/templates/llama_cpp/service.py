"""What answers requests: one class per kind of model, and the one place that opens them.

Rule: a request that fails gets its error; the others of its batch, and the model, go on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import triton_python_backend_utils as pb_utils
import xllamacpp

from .counters import Counters
from .decoder import Decoder
from .llama import Llama
from .settings import Settings, load_settings
from .vectors import Encoder, Reranker


class Service(Protocol):
    """A loaded model."""

    def execute(self, requests: Sequence[Any]) -> list[Any] | None: ...

    def close(self) -> None: ...


def open_service(args: dict[str, str]) -> Service:
    """The model that Triton's arguments name. Raises TritonModelException that says what is wrong."""
    version_folder = Path(args["model_repository"], args["model_version"])
    try:
        settings = load_settings(json.loads(args["model_config"]), version_folder)
        llama = Llama(settings)
    except (ValueError, RuntimeError) as error:
        raise pb_utils.TritonModelException(f"{version_folder}: {error}") from error
    _warn_of_other_runtime(settings)
    if settings.kind == "decoder":
        return Decoder(settings, llama, Counters(args["model_name"], args["model_version"]))
    return Encoder(llama) if settings.kind == "encoder" else Reranker(settings, llama)


def _warn_of_other_runtime(settings: Settings) -> None:
    found = xllamacpp.__version__
    if found != settings.xllamacpp:
        pb_utils.Logger.log_warn(
            f"{settings.bundle} was proven with xllamacpp {settings.xllamacpp}; {found} may answer otherwise"
        )
