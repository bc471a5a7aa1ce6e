"""Byte-level BPE (GPT-2's kind): llama.cpp's `gpt2` model. Rule: ids and merge ranks stay as in tokenizer.json."""

from __future__ import annotations

from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.model import KeyValue
from edgec.formats.gguf.vocabulary.entries import numbers, text, texts
from edgec.formats.gguf.vocabulary.files import Json, TokenizerFiles
from edgec.formats.gguf.vocabulary.model import (
    merges_reach_all,
    read_merges,
    read_model,
    read_vocab,
    require_plain_bpe,
    token_table,
)
from edgec.formats.gguf.vocabulary.pretokenizer import checked_override, recognise


def is_byte_level(pre_tokenizer: Any) -> bool:
    """Whether tokenizer.json's `pre_tokenizer` maps bytes to letters."""
    if not isinstance(pre_tokenizer, dict):
        return False
    return pre_tokenizer.get("type") == "ByteLevel" or any(
        is_byte_level(part) for part in pre_tokenizer.get("pretokenizers") or []
    )


def normalizers(tokenizer: Json) -> list[Json]:
    """The steps of tokenizer.json's normalizer, nested sequences opened."""
    found: list[Json] = []
    waiting = [tokenizer.get("normalizer")]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, dict) and part.get("type") == "Sequence":
            waiting = [*(part.get("normalizers") or []), *waiting]
        elif isinstance(part, dict):
            found.append(part)
    return found


def _require_known_normalizers(tokenizer: Json) -> None:
    for step in normalizers(tokenizer):
        kind = step.get("type")
        # NFC leaves composed text, which nearly all text is, as it is: a limit that the proof names.
        if kind != "NFC":
            raise InputError.of(
                f"the normalizer {kind} changes the text, which llama.cpp does not do for byte-level BPE",
                place="tokenizer.json",
                hint="this tokenizer has no equal on llama.cpp: choose a model without that normalizer",
            )


def map_byte_bpe(
    files: TokenizerFiles, tokenizer: Json, *, n_vocab: int, pre: str | None
) -> tuple[tuple[KeyValue, ...], str]:
    """The entries but for special tokens and templates, and the pre-tokenizer's name.

    `pre`: the recipe's override, which makes the pre-tokenizer's own structure irrelevant.
    """
    model = read_model(tokenizer)
    require_plain_bpe(model)
    _require_known_normalizers(tokenizer)
    table = token_table(files, read_vocab(model), n_vocab)
    merges = read_merges(model)
    name = checked_override(pre) if pre else recognise(tokenizer, lambda: merges_reach_all(tokenizer)).name
    entries = (
        text("tokenizer.ggml.model", "gpt2"),
        text("tokenizer.ggml.pre", name),
        texts("tokenizer.ggml.tokens", table.tokens),
        numbers("tokenizer.ggml.token_type", table.types),
        texts("tokenizer.ggml.merges", merges),
    )
    return entries, name
