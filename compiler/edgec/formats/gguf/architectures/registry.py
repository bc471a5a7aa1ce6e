"""The one table from Hugging Face class names to families, and the function that uses it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.architectures.architecture import Architecture, Request
from edgec.formats.gguf.architectures.bert import map_bert, map_bert_reranker
from edgec.formats.gguf.architectures.config import Config, show
from edgec.formats.gguf.architectures.gemma3 import map_gemma3
from edgec.formats.gguf.architectures.llama import map_llama, map_mistral
from edgec.formats.gguf.architectures.nomic_bert import map_nomic_bert
from edgec.formats.gguf.architectures.phi3 import map_phi3
from edgec.formats.gguf.architectures.qwen import map_qwen2, map_qwen3
from edgec.formats.gguf.model import MappedModel
from edgec.source.model import CheckpointHeader
from edgec.source.quantization import refuse_quantized

SUPPORTED: Mapping[str, Architecture] = {
    "BertForMaskedLM": map_bert,
    "BertForPreTraining": map_bert,
    "BertForSequenceClassification": map_bert_reranker,
    "BertModel": map_bert,
    "Gemma3ForCausalLM": map_gemma3,
    "Gemma3ForConditionalGeneration": map_gemma3,
    "LlamaForCausalLM": map_llama,
    "MistralForCausalLM": map_mistral,
    "NomicBertModel": map_nomic_bert,
    "Phi3ForCausalLM": map_phi3,
    "Qwen2ForCausalLM": map_qwen2,
    "Qwen3ForCausalLM": map_qwen3,
}


def map_model(header: CheckpointHeader, *, name: str, architecture: str | None = None) -> MappedModel:
    """Understands a checkpoint from its config.json and tensor names; no weight is read.

    `name` becomes `general.name`. `architecture` overrides the class in config.json. Raises InputError for an unknown
    class, an option that cannot be converted, and any missing, misshapen or unknown tensor.
    """
    config = Config(header.config)
    place = "source.architecture" if architecture else "config.json: architectures"
    family = _family(architecture or _class_name(header.config), place)
    _refuse_quantized(config)
    refuse_quantized(header.config, header.quantization)
    return family(Request(header, config, name))


def _class_name(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    if isinstance(names, str):
        raise InputError.of(
            f"architectures is the text {show(names)}, but must be a list",
            place="config.json",
            hint=f'write `"architectures": [{json.dumps(names)}]`',
        )
    if not (isinstance(names, list) and names and isinstance(names[0], str)):
        raise InputError.of(
            "architectures is missing, so the kind of model is unknown",
            place="config.json",
            hint=f"name it in the recipe, for example `source: {{architecture: LlamaForCausalLM}}`; {_supported()}",
        )
    return names[0]


def _family(class_name: str, place: str) -> Architecture:
    if class_name in SUPPORTED:
        return SUPPORTED[class_name]
    near = difflib.get_close_matches(class_name, SUPPORTED, n=1)
    meant = near[0] if near else "LlamaForCausalLM"
    raise InputError.of(
        f"architecture {class_name!r} is not supported",
        place=place,
        hint=f"{_supported()}; if the model computes exactly what one of these does, write it in the recipe: "
        f"`source: {{architecture: {meant}}}`",
    )


def _supported() -> str:
    return f"supported: {', '.join(sorted(SUPPORTED))}"


def _refuse_quantized(config: Config) -> None:
    for key in ("quantization_config", "compression_config"):
        if config.get(key) is not None:
            raise InputError.of(
                f"{key} is set: these weights are quantized already",
                place="config.json",
                hint="build from the publisher's bf16, f16 or f32 weights; edgec quantizes them",
            )
