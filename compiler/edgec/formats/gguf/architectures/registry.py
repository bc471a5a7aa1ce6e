"""The one table from Hugging Face class names to families, and the function that uses it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ....errors import InputError
from ....source.model import CheckpointHeader
from ..model import MappedModel
from .architecture import Architecture, Request
from .config import Config
from .llama import map_llama

SUPPORTED: Mapping[str, Architecture] = {
    "LlamaForCausalLM": map_llama,
}


def map_model(header: CheckpointHeader, *, name: str, architecture: str | None = None) -> MappedModel:
    """Understands a checkpoint from its config.json and tensor names; no weight is read.

    `name` becomes `general.name`. `architecture` overrides the class in config.json. Raises InputError for an unknown
    class, an option that cannot be converted, and any missing, misshapen or unknown tensor.
    """
    class_name = architecture or _class_name(header.config)
    family = SUPPORTED.get(class_name)
    if family is None:
        raise _unknown(class_name)
    config = Config(header.config)
    _refuse_quantized(config)
    return family(Request(header, config, class_name, name))


def _class_name(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    if not (isinstance(names, list) and names and isinstance(names[0], str)):
        raise InputError.of(
            "architectures is missing, so the kind of model is unknown",
            place="config.json",
            hint=f"name it in the recipe, for example `source: {{architecture: LlamaForCausalLM}}`; {_supported()}",
        )
    return names[0]


def _unknown(class_name: str) -> InputError:
    near = difflib.get_close_matches(class_name, SUPPORTED, n=1)
    meant = near[0] if near else "LlamaForCausalLM"
    return InputError.of(
        f"architecture {class_name!r} is not supported",
        place="config.json: architectures",
        hint=f"{_supported()}; if the model is exactly one of these, write it in the recipe: "
        f"`source: {{architecture: {meant}}}`",
    )


def _supported() -> str:
    return f"supported: {', '.join(sorted(SUPPORTED))}"


def _refuse_quantized(config: Config) -> None:
    for key in ("quantization_config", "compression_config"):
        if config.values.get(key) is not None:
            raise InputError.of(
                f"{key} is set: these weights are quantized already",
                place="config.json",
                hint="build from the publisher's bf16, f16 or f32 weights; edgec quantizes them",
            )
