"""Which files of a checkpoint matter, and which tensors its shards must hold.

Rule: the same allow-list serves local folders and the hub; a file outside it is neither read nor downloaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from edgec.errors import Diagnostic, InputError
from edgec.source.model import TensorInfo
from edgec.source.quantization import MODELOPT_CONFIG

CONFIG = "config.json"

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_INDEX_BYTES = 64 << 20
_MAX_MISTAKES = 10

# Largest size taken of each small file, in bytes: the largest known tokenizers have about 35 MB.
_TOKENIZER_BYTES = 128 << 20
_OTHER_BYTES = 8 << 20
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "merges.txt")
_OTHER_FILES = (
    CONFIG,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    MODELOPT_CONFIG,
    "chat_template.jinja",
    "chat_template.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
    "preprocessor_config.json",
    "README.md",
)
SMALL_FILES: Mapping[str, int] = {
    **dict.fromkeys(_TOKENIZER_FILES, _TOKENIZER_BYTES),
    **dict.fromkeys(_OTHER_FILES, _OTHER_BYTES),
}
_LICENCE = re.compile(r"(LICEN[CS]E|NOTICE)[\w.-]*", re.IGNORECASE)
_SHARD = re.compile(r"[\w.-]+\.safetensors")


def small_file_limit(name: str) -> int | None:
    """The most bytes taken of the small file `name`; None when it is not on the allow-list."""
    return SMALL_FILES.get(name, _OTHER_BYTES if _LICENCE.fullmatch(name) else None)


def parse_object(data: bytes, file: str) -> dict[str, Any]:
    """A JSON object from a file's bytes. Raises InputError when it is anything else."""
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)[:120]
        raise InputError.of(f"is not JSON: {reason}", hint="fetch the file again", place=file) from error
    if not isinstance(value, dict):
        raise InputError.of("is not a JSON object", hint="fetch the file again", place=file)
    return value


def parse_index(data: bytes) -> dict[str, str]:
    """The weight map of `model.safetensors.index.json`: tensor name to shard file name. Raises InputError."""
    weight_map = parse_object(data, INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError.of("has no weight_map", hint="fetch the file again", place=INDEX)
    for tensor, file in weight_map.items():
        # A plain name only: an index from elsewhere must not lead out of the checkpoint's folder.
        if not isinstance(file, str) or not _SHARD.fullmatch(file):
            raise InputError.of(
                f"weight_map names {str(file)[:80]!r}, which is not a plain .safetensors file name",
                hint="fetch the file again from a source you trust",
                place=f"{INDEX}: tensor '{tensor}'",
            )
    return weight_map


def weights_of(names: Collection[str], where: str) -> str:
    """`SINGLE` or `INDEX`, whichever describes the weights among the files `names` of the checkpoint `where`.

    A single file wins over an index, as in transformers. Raises InputError when there are no safetensors weights.
    """
    if SINGLE in names:
        return SINGLE
    if INDEX in names:
        return INDEX
    found = sorted(names)
    if any(n.endswith((".bin", ".pt", ".pth", ".ckpt")) for n in found):
        raise InputError.of(
            "the weights are pickle files (pytorch_model.bin), which run code when they are opened; edgec refuses them",
            hint="convert them once where you trust them: "
            "`AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)`, "
            "or take a revision of the model that has model.safetensors",
            place=where,
        )
    if any(n.startswith("adapter_model") for n in found):
        raise InputError.of(
            "this is a LoRA adapter, not a whole model",
            hint="merge it into its base model first: `model.merge_and_unload().save_pretrained(folder)`",
            place=where,
        )
    if any(n.endswith(".gguf") for n in found):
        raise InputError.of(
            "the folder holds GGUF files, which are compiled already",
            hint="give the original checkpoint with model.safetensors",
            place=where,
        )
    raise InputError.of(
        f"no weights: neither {SINGLE} nor {INDEX}",
        hint="give a complete Hugging Face checkpoint with safetensors weights",
        place=where,
    )


def join_shards(weight_map: Mapping[str, str], shards: Mapping[str, Mapping[str, TensorInfo]]) -> dict[str, TensorInfo]:
    """All tensors of a sharded checkpoint. Raises InputError naming each tensor where index and shards disagree."""
    tensors: dict[str, TensorInfo] = {}
    mistakes: list[Diagnostic] = []
    for file in sorted(shards):
        for name, info in shards[file].items():
            if name in tensors:
                mistakes.append(_disagreement(file, name, f"stands in {tensors[name].file} as well"))
            elif name not in weight_map:
                mistakes.append(_disagreement(file, name, f"is not listed in {INDEX}"))
            elif weight_map[name] != file:
                mistakes.append(_disagreement(file, name, f"is listed under {weight_map[name]} in {INDEX}"))
            tensors.setdefault(name, info)
    missing = [n for n in sorted(weight_map) if n not in tensors and not n.endswith("position_ids")]
    mistakes += [_disagreement(weight_map[n], n, f"is listed in {INDEX} but missing from the file") for n in missing]
    if mistakes:
        raise InputError(*mistakes[:_MAX_MISTAKES])
    return tensors


def model_card_licence(readme: bytes | None) -> str | None:
    """The licence that the front matter of a model card names (`license_name` where `license` is `other`)."""
    if readme is None or not readme.startswith(b"---"):
        return None
    front = readme[3:].split(b"\n---", maxsplit=1)[0].decode("utf-8", "replace")
    found = dict(re.findall(r"^(license|license_name):[ \t]*['\"]?([\w.+-]+)", front, re.MULTILINE))
    licence = found.get("license")
    return found.get("license_name", licence) if licence in {None, "other"} else licence


def _disagreement(file: str, tensor: str, what: str) -> Diagnostic:
    return Diagnostic(
        message=what,
        hint="index and shards come from different versions; fetch the whole checkpoint again",
        place=f"{file}: tensor '{tensor}'",
    )
