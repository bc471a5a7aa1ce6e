"""Byte-level BPE (GPT-2's kind): llama.cpp's `gpt2` model. Rule: ids and merge ranks stay as in tokenizer.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.model import KeyValue
from edgec.formats.gguf.vocabulary.added import added_entry
from edgec.formats.gguf.vocabulary.entries import TokenType, numbers, text, texts
from edgec.formats.gguf.vocabulary.files import Json, TokenizerFiles

# A space inside a merge's part, as GPT-2's byte alphabet writes it.
_SPACE_LETTER = "\u0120"


@dataclass(frozen=True)
class TokenTable:
    """Texts and types of all ids, in order."""

    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]


def read_vocab(model: Json) -> dict[str, int]:
    """`model.vocab` of tokenizer.json. InputError when it is not a mapping of texts to distinct ids."""
    vocab = model.get("vocab")
    if not isinstance(vocab, dict) or not all(isinstance(i, int) and i >= 0 for i in vocab.values()):
        raise InputError.of("`model.vocab` must map tokens to ids", place="tokenizer.json")
    if len(set(vocab.values())) != len(vocab):
        raise InputError.of("two tokens of `model.vocab` have the same id", place="tokenizer.json")
    return vocab


def token_table(files: TokenizerFiles, vocab: dict[str, int], n_vocab: int) -> TokenTable:
    """All `n_vocab` entries: the model's, the added ones, and `[PADn]` for ids that nothing uses."""
    tokens = [f"[PAD{i}]" for i in range(n_vocab)]
    types = [TokenType.UNUSED] * n_vocab
    largest = max([*vocab.values(), *(t.id for t in files.added)], default=-1)
    if largest >= n_vocab:
        raise InputError.of(
            f"token id {largest} lies outside the model's vocabulary of {n_vocab} entries",
            place="tokenizer.json",
            hint="use the tokenizer that belongs to this checkpoint, or correct `vocab_size` in config.json",
        )
    for token, index in vocab.items():
        tokens[index], types[index] = token, TokenType.NORMAL
    for added in files.added:
        tokens[added.id], types[added.id] = added_entry(added)
    return TokenTable(tuple(tokens), tuple(types))


def read_merges(model: Json) -> list[str]:
    """`model.merges` as llama.cpp's "left right" texts, from either JSON form."""
    merges: Any = model.get("merges")
    if not isinstance(merges, list) or not merges:
        raise InputError.of("`model.merges` is missing or empty", place="tokenizer.json")
    out = []
    for merge in merges:
        if isinstance(merge, list) and len(merge) == 2 and all(isinstance(part, str) for part in merge):
            out.append(" ".join(part.replace(" ", _SPACE_LETTER) for part in merge))
        elif isinstance(merge, str) and merge.count(" ") == 1:
            out.append(merge)
        else:
            raise InputError.of(f"not a merge of two parts: {merge!r}", place="tokenizer.json")
    return out


def map_byte_bpe(files: TokenizerFiles, tokenizer: Json, *, n_vocab: int, pre: str) -> tuple[KeyValue, ...]:
    """The entries of a byte-level BPE model but for special tokens and templates."""
    model = tokenizer["model"]
    table = token_table(files, read_vocab(model), n_vocab)
    return (
        text("tokenizer.ggml.model", "gpt2"),
        text("tokenizer.ggml.pre", pre),
        texts("tokenizer.ggml.tokens", table.tokens),
        numbers("tokenizer.ggml.token_type", table.types),
        texts("tokenizer.ggml.merges", read_merges(model)),
    )
