"""What an encoder is, from the checkpoint's small files: its size, how it makes one vector of a text, its tokens.

Rule: what the export or the pooling would get wrong is refused here, before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tokenizers import Tokenizer

from edgec.errors import InputError
from edgec.formats.onnx.families import NOMIC, Family, family_of, positive, refuse_other_labels
from edgec.formats.onnx.pooling import Pooling, json_object, longest_text, read_pooling
from edgec.source.model import CheckpointHeader
from edgec.source.nomic_bert import in_one_spelling
from edgec.source.quantization import refuse_quantized

_CONFIG = "config.json"


@dataclass(frozen=True)
class Encoder:
    """A BERT or its kin. `numbers`: transformers' keys and values where config.json has others.

    `positions`: tokens it was trained for, `position_rows`: rows of their table; `context`: tokens of a text, special
    ones included, as its publisher uses it; `pooling`: how one vector is made of its hidden states, `pooling_note`: if
    that was assumed; `biases`: of relative distances.
    """

    architecture: str
    family: str
    layers: int
    width: int
    inner: int
    heads: int
    vocabulary: int
    positions: int
    position_rows: int
    types: int
    context: int
    pooling: Pooling
    pad_id: int
    pooling_note: str | None = None
    biases: int = 0
    numbers: Mapping[str, Any] | None = None

    @property
    def kind(self) -> Literal["encoder", "reranker"]:
        """What it gives: vectors of texts, or scores of pairs."""
        return "reranker" if self.pooling == "score" else "encoder"

    @property
    def answer_width(self) -> int:
        """Elements of what one text, or one pair, becomes."""
        return 1 if self.kind == "reranker" else self.width

    @property
    def is_gated(self) -> bool:
        """Whether its feed-forward has a gate, and no biases stand beside its matrices."""
        return self.family == NOMIC


@dataclass(frozen=True)
class Tokens:
    """A text or a pair of texts for the model: `ids`, and of each the number of the text it belongs to, `types`."""

    ids: list[int]
    types: list[int]


def read_encoder(header: CheckpointHeader) -> Encoder:
    """The encoder of a checkpoint. Raises InputError for a model that this backend does not take."""
    config = header.config
    refuse_quantized(config, header.quantization)
    family, architecture = family_of(config)
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise InputError.of(
            "the model is a decoder (is_decoder), and only encoders are exported",
            place=_CONFIG,
            hint="use `format: gguf` for text generators",
        )
    reranks = architecture in family.rerankers
    if reranks:
        refuse_other_labels(config)
    numbers = in_one_spelling(config) if family.name == NOMIC else None
    shape = _shape(config if numbers is None else numbers, family)
    pooling, note = ("score", None) if reranks else read_pooling(header.files)
    return Encoder(
        architecture=architecture,
        family=family.name,
        context=longest_text(header.files, shape["positions"]),
        pooling=pooling,
        pooling_note=note,
        numbers=numbers,
        **shape,
    )


def _shape(config: Mapping[str, Any], family: Family) -> dict[str, int]:
    """The numbers of the model by their names in `Encoder`."""
    pad_id = config.get("pad_token_id")
    pad_id = pad_id if isinstance(pad_id, int) else family.pad_id
    rows = family.integer(config, "positions")
    positions = rows - pad_id - 1 if family.offset else rows
    heads = family.integer(config, "heads")
    return {
        "layers": family.integer(config, "layers"),
        "width": family.integer(config, "width"),
        "inner": family.integer(config, "inner"),
        "heads": heads,
        "vocabulary": family.integer(config, "vocabulary"),
        "positions": positions,
        # Rotated positions have no table.
        "position_rows": 0 if family.name == NOMIC else rows,
        "types": family.integer(config, "types") if family.has_types else 0,
        "pad_id": pad_id,
        "biases": 0 if family.buckets is None else heads * positive(config, family.buckets, 32),
    }


def token_ids(files: Mapping[str, bytes], texts: Sequence[str], context: int) -> list[list[int]]:
    """The ids of each text with the model's special tokens; a longer text loses its end, but not its last token."""
    tokenizer = encoder_tokenizer(files)
    return [_cut(tokenizer.encode(text).ids, context) for text in texts]


def encode(files: Mapping[str, bytes], texts: Sequence[str | tuple[str, str]], encoder: Encoder) -> list[Tokens]:
    """The same with the types, of texts and of pairs. A model without a second type gives all tokens the first."""
    tokenizer = encoder_tokenizer(files)
    found = [tokenizer.encode(*((text,) if isinstance(text, str) else text)) for text in texts]
    tokens = []
    for each in found:
        types = [number if number < encoder.types else 0 for number in each.type_ids]
        tokens.append(Tokens(_cut(each.ids, encoder.context), _cut(types, encoder.context)))
    return tokens


def _cut(values: list[int], most: int) -> list[int]:
    return values if len(values) <= most else [*values[: most - 1], values[-1]]


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
    document = json_object(files, "tokenizer.json")
    kinds = [(document.get(part) or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"]
