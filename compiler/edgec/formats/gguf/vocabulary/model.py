"""The `model` part of tokenizer.json, checked. Rule: a setting that changes ids and that llama.cpp lacks is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.vocabulary.added import added_entry
from edgec.formats.gguf.vocabulary.entries import TokenType
from edgec.formats.gguf.vocabulary.files import Json, TokenizerFiles
from edgec.formats.gguf.vocabulary.loading import load_tokenizer

_PLACE = "tokenizer.json"
_DAMAGED = "the file was edited or is damaged: download it again, or save it again with transformers' save_pretrained"
# A space inside a merge's part, as GPT-2's byte alphabet writes it.
_SPACE_LETTER = "\u0120"


@dataclass(frozen=True)
class TokenTable:
    """Texts and types of all ids, in order."""

    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]


def read_model(tokenizer: Json) -> Json:
    """The `model` object. InputError when there is none."""
    model = tokenizer.get("model")
    if not isinstance(model, dict):
        raise InputError.of("`model` is missing", place=_PLACE, hint=_DAMAGED)
    return model


def read_vocab(model: Json) -> Mapping[str, int]:
    """`model.vocab` of tokenizer.json. InputError when it is not a mapping of texts to distinct ids."""
    vocab = model.get("vocab")
    if not isinstance(vocab, dict):
        raise InputError.of("`model.vocab` must map tokens to ids", place=_PLACE, hint=_DAMAGED)
    seen: dict[int, str] = {}
    for token, number in vocab.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            message = f"the token {token!r} of `model.vocab` has the id {number!r}, which is not a whole number from 0"
            raise InputError.of(message, place=_PLACE, hint=_DAMAGED)
        first = seen.setdefault(number, token)
        if first != token:
            message = f"the tokens {first!r} and {token!r} of `model.vocab` have the same id, {number}"
            raise InputError.of(message, place=_PLACE, hint=_DAMAGED)
    return vocab


def require_ids_below(largest: int, n_vocab: int) -> None:
    """InputError when the tokenizer has an id that the embedding has no row for."""
    if largest >= n_vocab:
        raise InputError.of(
            f"token id {largest} lies outside the model's vocabulary of {n_vocab} entries",
            place=_PLACE,
            hint="use the tokenizer that belongs to this checkpoint, or correct `vocab_size` in config.json",
        )


def token_table(files: TokenizerFiles, vocab: Mapping[str, int], n_vocab: int) -> TokenTable:
    """All `n_vocab` entries: the model's, the added ones, and `[PADn]` for ids that nothing uses."""
    tokens = [f"[PAD{i}]" for i in range(n_vocab)]
    types = [TokenType.UNUSED] * n_vocab
    require_ids_below(max([*vocab.values(), *(t.id for t in files.added)], default=-1), n_vocab)
    for token, index in vocab.items():
        tokens[index], types[index] = token, TokenType.NORMAL
    for added in files.added:
        tokens[added.id], types[added.id] = added_entry(added)
    require_distinct(tokens)
    return TokenTable(tuple(tokens), tuple(types))


def require_distinct(tokens: list[str]) -> None:
    """InputError when two ids have one text, on which llama.cpp's loader aborts."""
    seen: dict[str, int] = {}
    for index, token in enumerate(tokens):
        first = seen.setdefault(token, index)
        if first != index:
            raise InputError.of(
                f"ids {first} and {index} are both {token!r}",
                place=_PLACE,
                hint="remove one of the two: llama.cpp cannot load a vocabulary with a repeated token",
            )


def read_merges(model: Json, space: str = _SPACE_LETTER) -> list[str]:
    """`model.merges` as llama.cpp's "left right" texts, from either JSON form. `space` stands for a space in a part."""
    merges: Any = model.get("merges")
    if not isinstance(merges, list) or not merges:
        raise InputError.of("`model.merges` is missing or empty", place=_PLACE, hint=_DAMAGED)
    out = []
    for merge in merges:
        if isinstance(merge, list) and len(merge) == 2 and all(isinstance(part, str) and part for part in merge):
            out.append(" ".join(part.replace(" ", space) for part in merge))
        elif isinstance(merge, str) and merge.count(" ") == 1:
            out.append(merge)
        else:
            raise InputError.of(f"not a merge of two parts: {merge!r}", place=_PLACE, hint=_DAMAGED)
    return out


def require_plain_bpe(model: Json) -> None:
    """InputError for settings of a BPE model that change ids and that llama.cpp does not have."""
    for name, meaning in (
        ("dropout", "merges are dropped at random"),
        ("continuing_subword_prefix", "tokens inside of words have a prefix"),
        ("end_of_word_suffix", "tokens at the end of words have a suffix"),
    ):
        if model.get(name):
            raise InputError.of(
                f"`model.{name}` is {model[name]!r}: {meaning}, which llama.cpp does not do",
                place=_PLACE,
                hint=f"if the model was trained without it, set `{name}` to null; otherwise it cannot run on llama.cpp",
            )


def merges_reach_all(tokenizer: Json) -> bool:
    """Whether merging gives every token but the added ones, so that `ignore_merges` changes nothing."""
    model = {**tokenizer["model"], "ignore_merges": False}
    names = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    bare: dict[str, object] = {"version": "1.0", "added_tokens": [], **dict.fromkeys(names), "model": model}
    merger = load_tokenizer(json.dumps(bare).encode())
    added = {token.get("content") for token in tokenizer.get("added_tokens") or []}
    merged = [token for token in model["vocab"] if token not in added]
    return all(len(encoding.ids) == 1 for encoding in merger.encode_batch(merged))
