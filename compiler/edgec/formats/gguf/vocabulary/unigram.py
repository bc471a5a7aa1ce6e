"""SentencePiece unigram (T5, XLM-R): llama.cpp's `t5` model. Rule: scores and charsmap stay as they are."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.model import KeyValue
from edgec.formats.gguf.vocabulary.added import SPACE, added_entry
from edgec.formats.gguf.vocabulary.byte_bpe import normalizers
from edgec.formats.gguf.vocabulary.entries import TokenType, flag, number, octets
from edgec.formats.gguf.vocabulary.files import Json, TokenizerFiles
from edgec.formats.gguf.vocabulary.model import read_model, require_ids_below
from edgec.formats.gguf.vocabulary.sentencepiece import SentencePieceModel
from edgec.formats.gguf.vocabulary.spm import ScoredTable, declared_tokens

_PLACE = "tokenizer.json"


def _switches(prefix: bool, merge_spaces: bool, charsmap: bytes, token_types: int | None) -> tuple[KeyValue, ...]:
    types = () if token_types is None else (number("tokenizer.ggml.token_type_count", token_types),)
    map_ = (octets("tokenizer.ggml.precompiled_charsmap", charsmap),) if charsmap else ()
    return (
        flag("tokenizer.ggml.add_space_prefix", prefix),
        *types,
        flag("tokenizer.ggml.remove_extra_whitespaces", merge_spaces),
        *map_,
    )


def map_unigram_file(
    files: TokenizerFiles, model: SentencePieceModel, n_vocab: int, token_types: int | None
) -> tuple[KeyValue, ...]:
    """The entries of a SentencePiece unigram file."""
    table = ScoredTable.empty(n_vocab)
    for index, piece in enumerate(model.pieces):
        table.put(index, piece.text, piece.score, piece.type)
    for token in declared_tokens(files):
        if token.id >= len(model.pieces):
            content, kind = added_entry(token)
            table.put(token.id, content, -1000.0, kind)
    switches = _switches(model.add_dummy_prefix, model.remove_extra_whitespaces, model.charsmap, token_types)
    return (*table.entries("t5"), *switches)


def _charsmap(step: Json) -> bytes:
    try:
        return base64.b64decode(step.get("precompiled_charsmap") or "", validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InputError.of(f"`precompiled_charsmap` is not base64: {error}", place=_PLACE) from error


def _text_treatment(tokenizer: Json) -> tuple[bytes, bool, bool]:
    """Charsmap, whether a space is put before the text, whether runs of spaces become one."""
    charsmap, prefix, merge, splits = b"", False, False, False
    for step in normalizers(tokenizer):
        kind = step.get("type")
        if kind == "Precompiled":
            charsmap = _charsmap(step)
        elif (kind == "Replace" and step.get("pattern") == {"Regex": " {2,}"}) or kind == "Strip":
            merge = True
        else:
            raise _unknown("normalizer", step)
    waiting: list[Any] = [tokenizer.get("pre_tokenizer")]
    while waiting:
        part = waiting.pop(0)
        if not isinstance(part, dict):
            continue
        kind = part.get("type")
        if kind == "Sequence":
            waiting = [*(part.get("pretokenizers") or []), *waiting]
        elif kind == "WhitespaceSplit":
            merge = True
        elif kind == "Metaspace" and part.get("replacement") == SPACE:
            prefix = part.get("prepend_scheme", "always") != "never"
            splits = splits or bool(part.get("split", True))
        else:
            raise _unknown("pre_tokenizer", part)
    if splits and any(SPACE in str(token)[1:] for token, _ in tokenizer["model"]["vocab"]):
        raise _unknown("pre_tokenizer", {"type": "that splits words, although tokens reach over several words,"})
    return charsmap, prefix, merge


def _unknown(where: str, part: Json) -> InputError:
    return InputError.of(
        f"the {where} {part.get('type')} changes the text in a way that llama.cpp does not",
        place=_PLACE,
        hint="this tokenizer has no equal on llama.cpp: choose a model without it",
    )


def map_unigram_json(
    files: TokenizerFiles, tokenizer: Json, n_vocab: int, token_types: int | None
) -> tuple[tuple[KeyValue, ...], int]:
    """The entries of a unigram tokenizer.json, and the id of its unknown token."""
    model = read_model(tokenizer)
    if model.get("byte_fallback"):
        raise InputError.of("a unigram model with byte fallback, which llama.cpp does not have", place=_PLACE)
    vocab, unknown = model.get("vocab"), model.get("unk_id")
    if not isinstance(vocab, list) or not all(isinstance(e, list) and len(e) == 2 for e in vocab):
        raise InputError.of("`model.vocab` must list tokens with their scores", place=_PLACE)
    if not isinstance(unknown, int):
        raise InputError.of("`model.unk_id` is missing, which llama.cpp needs", place=_PLACE)
    require_ids_below(max([len(vocab) - 1, *(t.id for t in files.added)]), n_vocab)
    table = ScoredTable.empty(n_vocab)
    for index, (token, score) in enumerate(vocab):
        table.put(index, str(token), float(score), TokenType.NORMAL)
    for added in files.added:
        content, kind = added_entry(added)
        score = float(vocab[added.id][1]) if added.id < len(vocab) else 0.0
        table.put(added.id, content, score, kind)
    table.put(unknown, str(vocab[unknown][0]), float(vocab[unknown][1]), TokenType.UNKNOWN)
    charsmap, prefix, merge = _text_treatment(tokenizer)
    return (*table.entries("t5"), *_switches(prefix, merge, charsmap, token_types)), unknown
