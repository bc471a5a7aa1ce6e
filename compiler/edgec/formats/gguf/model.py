"""Nouns of a GGUF: what an architecture maps to, before types and offsets are chosen.

Rule: shapes here are row-major as in safetensors, `(rows, columns)`; ggml's reversed order exists only in the header
writer and reader.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal


class ValueType(IntEnum):
    """GGUF metadata value types (numbers as in the GGUF specification)."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


Scalar = bool | int | float | str
# A text generator, a maker of embeddings, a judge of how well a document answers a query.
ModelKind = Literal["decoder", "encoder", "reranker"]


@dataclass(frozen=True)
class KeyValue:
    """One metadata entry. For an array, `type` is ARRAY, `item_type` its element type and `value` a tuple."""

    key: str
    type: ValueType
    value: Scalar | tuple[Scalar, ...]
    item_type: ValueType | None = None


@dataclass(frozen=True)
class TensorMapping:
    """How one GGUF tensor is made from the checkpoint.

    `source` is the safetensors name, or None for a computed tensor whose float32 values are `constant`.
    `rows`: only these first rows (vocabulary trimming), None for all.
    `unpermute_heads`: Hugging Face keeps rotary halves apart; ggml wants them interleaved: rows are reordered per head
    (number of heads in this tensor), None for no reordering.
    `add`: constant added to every value (Gemma's norms: 1).
    `fixed_type`: `f32` where llama.cpp never quantizes although the name ends in `weight`.
    """

    name: str
    source: str | None
    shape: tuple[int, ...]
    rows: int | None = None
    unpermute_heads: int | None = None
    add: float = 0.0
    constant: tuple[float, ...] | None = None
    fixed_type: Literal["f32"] | None = None

    @property
    def columns(self) -> int:
        """Elements of one row."""
        return self.shape[-1] if self.shape else 1

    @property
    def height(self) -> int:
        """Number of rows; a vector is one row."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True)
class ModelShape:
    """Numbers of a transformer that memory and speed depend on (units: elements, tokens)."""

    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    head_dim_k: int
    head_dim_v: int
    n_vocab: int
    context_length: int
    sliding_window: int | None = None
    # Layers that attend to the whole context although `sliding_window` is set.
    n_full_attention_layers: int | None = None


@dataclass(frozen=True)
class MappedModel:
    """A checkpoint understood as a llama.cpp architecture.

    `arch`: llama.cpp's name (`llama`, `qwen2`, `bert`, ...). `metadata`: all `general.*` and `<arch>.*` entries but
    `general.file_type` and `general.quantization_version`. `tensors`: in any order.
    """

    arch: str
    kind: ModelKind
    shape: ModelShape
    metadata: tuple[KeyValue, ...]
    tensors: tuple[TensorMapping, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """The tokenizer as GGUF metadata (`tokenizer.*` entries), and facts about it for the plan and the proof.

    `special`: names of special tokens to ids, as llama.cpp will know them (bos, eos, unk, sep, pad, mask, eot ...).
    """

    metadata: tuple[KeyValue, ...]
    model: Literal["gpt2", "llama", "t5", "bert"]
    pre: str | None
    n_tokens: int
    special: Mapping[str, int]
    chat_template: str | None
    # The checkpoint's file that the template stands in; None for the recipe's own, and without one.
    chat_template_file: str | None = None
    # Rerankers: what the runtime makes of a pair, with `{query}` and `{document}` in it.
    rerank_template: str | None = None
    notes: tuple[str, ...] = ()
