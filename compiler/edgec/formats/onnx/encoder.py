"""What an encoder is, from the checkpoint's small files: its size, how it makes one vector of a text, its tokens.

Rule: what the export or the pooling would get wrong is refused here, before anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer

from edgec.errors import InputError
from edgec.source.model import CheckpointHeader
from edgec.source.quantization import refuse_quantized

Pooling = Literal["mean", "cls"]
ARCHITECTURES = ("BertModel", "BertForMaskedLM", "BertForPreTraining")
_CONFIG = "config.json"
_MODULES = ("Transformer", "Pooling", "Normalize")
_POOLING_FLAGS: Mapping[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


@dataclass(frozen=True)
class Encoder:
    """A BERT. `positions`: tokens it was trained for; `context`: tokens of a text, special ones included, as its
    publisher uses it; `pooling`: how one vector is made of its hidden states, `pooling_note`: if that was assumed.
    """

    architecture: str
    layers: int
    width: int
    inner: int
    heads: int
    vocabulary: int
    positions: int
    types: int
    context: int
    pooling: Pooling
    pad_id: int
    pooling_note: str | None = None


def read_encoder(header: CheckpointHeader) -> Encoder:
    """The encoder of a checkpoint. Raises InputError for a model that this backend does not take."""
    config = header.config
    refuse_quantized(config, header.quantization)
    architecture = _architecture(config)
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise InputError.of(
            "the model is a decoder (is_decoder), and only encoders are exported",
            place=_CONFIG,
            hint="use `format: gguf` for text generators",
        )
    positions = _integer(config, "max_position_embeddings", 512)
    pooling, note = _pooling(header.files)
    return Encoder(
        architecture=architecture,
        layers=_integer(config, "num_hidden_layers", 12),
        width=_integer(config, "hidden_size", 768),
        inner=_integer(config, "intermediate_size", 3072),
        heads=_integer(config, "num_attention_heads", 12),
        vocabulary=_integer(config, "vocab_size", 30522),
        positions=positions,
        types=_integer(config, "type_vocab_size", 2),
        context=min(positions, _longest(header.files, positions)),
        pooling=pooling,
        pad_id=int(config.get("pad_token_id") or 0),
        pooling_note=note,
    )


def token_ids(files: Mapping[str, bytes], texts: Sequence[str], context: int) -> list[list[int]]:
    """The ids of each text with the model's special tokens; a longer text loses its end, but not its last token."""
    tokenizer = encoder_tokenizer(files)
    found = [tokenizer.encode(text).ids for text in texts]
    return [ids if len(ids) <= context else [*ids[: context - 1], ids[-1]] for ids in found]


def encoder_tokenizer(files: Mapping[str, bytes]) -> Tokenizer:
    """The checkpoint's tokenizer. Raises InputError without a tokenizer.json that can be read."""
    if "tokenizer.json" not in files:
        raise InputError.of(
            "the checkpoint has no tokenizer.json, which a program on the device would tokenize with",
            hint="save it with transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
        )
    try:
        tokenizer: Tokenizer = Tokenizer.from_buffer(files["tokenizer.json"])
    except ValueError as error:
        raise InputError.of(
            f"Hugging Face `tokenizers` cannot read it: {str(error)[:300]}",
            place="tokenizer.json",
            hint="download the file again",
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def is_bert_tokenizer(files: Mapping[str, bytes]) -> bool:
    """Whether tokenizer.json normalizes, splits and cuts into pieces as BERT does, and in no other way besides."""
    document = _object(files, "tokenizer.json")
    kinds = [(document.get(part) or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    if name not in ARCHITECTURES:
        raise InputError.of(
            f"the architecture {name!r} is not exported to ONNX by this version",
            place=_CONFIG,
            hint=f"exported are {', '.join(ARCHITECTURES)}; `format: gguf` takes decoders, rerankers and Nomic BERT",
        )
    return str(name)


def _integer(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError.of(
            f"{key} is {value!r}, but must be a positive integer",
            place=_CONFIG,
            hint="compare with the config.json of the model's publisher",
        )
    return value


def _longest(files: Mapping[str, bytes], positions: int) -> int:
    value = _object(files, "sentence_bert_config.json").get("max_seq_length")
    return value if isinstance(value, int) and value > 1 else positions


def _pooling(files: Mapping[str, bytes]) -> tuple[Pooling, str | None]:
    if "modules.json" not in files:
        return "mean", "the checkpoint does not say how it pools (no modules.json): the mean over tokens is assumed"
    modules = _parsed(files, "modules.json")
    kinds = [str(m.get("type", "")).rpartition(".")[2] for m in modules] if isinstance(modules, list) else []
    strange = [kind for kind in kinds if kind not in _MODULES]
    if strange or "Pooling" not in kinds:
        raise InputError.of(
            f"a sentence encoder of {', '.join(kinds) or 'no modules'} cannot be proven",
            place="modules.json",
            hint="use a model of a transformer, a pooling and a normalization",
        )
    flags = _object(files, "1_Pooling/config.json")
    chosen = [name for name, value in flags.items() if name.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in _POOLING_FLAGS:
        raise InputError.of(
            f"pooling by {' and '.join(chosen) or 'nothing'} is not known here",
            place="1_Pooling/config.json",
            hint="use a model that pools by the mean or by the first token",
        )
    return _POOLING_FLAGS[chosen[0]], None


def _object(files: Mapping[str, bytes], name: str) -> Mapping[str, Any]:
    value = _parsed(files, name) if name in files else {}
    return value if isinstance(value, dict) else {}


def _parsed(files: Mapping[str, bytes], name: str) -> Any:
    try:
        return json.loads(files[name])
    except ValueError as error:
        hint = "download the model's small files again"
        raise InputError.of(f"cannot be read: {error}", place=name, hint=hint) from error
