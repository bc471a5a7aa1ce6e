"""SentencePiece BPE (Llama 2, Mistral, Gemma, Phi-3): llama.cpp's `llama` model, which merges by score.

Rule: scores come from tokenizer.model, else from the ranks of tokenizer.json's merges, and then only if merging by
score is proven to be the same as merging by rank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.model import KeyValue
from edgec.formats.gguf.vocabulary.added import SPACE, added_entry
from edgec.formats.gguf.vocabulary.byte_bpe import normalizers
from edgec.formats.gguf.vocabulary.entries import TokenType, numbers, reals, text, texts
from edgec.formats.gguf.vocabulary.files import AddedToken, Json, TokenizerFiles, parse_json
from edgec.formats.gguf.vocabulary.model import read_model, read_vocab, require_distinct, require_plain_bpe
from edgec.formats.gguf.vocabulary.sentencepiece import SentencePieceModel

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
# What llama.cpp's converter gives tokens that no merge makes, and ids that nothing uses.
_ADDED_SCORE, _UNUSED_SCORE = -1000.0, -10000.0
_PLACE = "tokenizer.json"


@dataclass
class ScoredTable:
    """Texts, scores and types of all ids while they are collected; ids from the end of the table on are left out."""

    tokens: list[str]
    scores: list[float]
    types: list[TokenType]

    @classmethod
    def empty(cls, n_vocab: int) -> ScoredTable:
        """`[PADn]` everywhere."""
        return cls([f"[PAD{i}]" for i in range(n_vocab)], [_UNUSED_SCORE] * n_vocab, [TokenType.UNUSED] * n_vocab)

    def put(self, index: int, token: str, score: float, kind: TokenType) -> None:
        """Sets one id, unless it lies outside the table."""
        if 0 <= index < len(self.tokens):
            self.tokens[index], self.scores[index], self.types[index] = token, score, kind

    def entries(self, model: str) -> tuple[KeyValue, ...]:
        """The metadata. InputError when two ids have one text."""
        require_distinct(self.tokens)
        return (
            text("tokenizer.ggml.model", model),
            text("tokenizer.ggml.pre", "default"),
            texts("tokenizer.ggml.tokens", self.tokens),
            reals("tokenizer.ggml.scores", self.scores),
            numbers("tokenizer.ggml.token_type", self.types),
        )


def declared_tokens(files: TokenizerFiles) -> list[AddedToken]:
    """Added tokens of added_tokens.json and tokenizer_config.json, in the order in which they override each other."""
    older = parse_json(files.raw, "added_tokens.json") or {}
    found = [AddedToken(id=i, content=content) for content, i in older.items() if isinstance(i, int)]
    for key, entry in (files.settings.get("added_tokens_decoder") or {}).items():
        if not str(key).isdecimal() or not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise InputError.of(f"`added_tokens_decoder` has a malformed entry {key!r}", place="tokenizer_config.json")
        found.append(AddedToken(id=int(key), content=entry["content"], special=bool(entry.get("special"))))
    return found


def model_file_table(files: TokenizerFiles, model: SentencePieceModel, n_vocab: int, arch: str) -> ScoredTable:
    """The table of a tokenizer.model with the added tokens of the other files."""
    table = ScoredTable.empty(n_vocab)
    for index, piece in enumerate(model.pieces):
        # User-defined pieces are matched in the text before spaces are replaced.
        own = piece.text.replace(SPACE, " ") if piece.type is TokenType.USER_DEFINED else piece.text
        table.put(index, own, piece.score, piece.type)
    declared = declared_tokens(files)
    # Phi-3's converter takes tokenizer.json's word for every token, the others' only where no other file has one.
    known = set() if arch == "phi3" else {*range(len(model.pieces)), *(t.id for t in declared)}
    for token in [*declared, *(t for t in files.added if t.id not in known)]:
        content, kind = added_entry(token)
        if arch == "phi3":
            content, kind = token.content, TokenType.CONTROL if token.special else TokenType.USER_DEFINED
        table.put(token.id, content, _ADDED_SCORE, kind)
    return table


def _merge_pairs(model: Json) -> list[tuple[str, str]]:
    pairs = []
    for merge in model.get("merges") or []:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) and p for p in parts):
            raise InputError.of(f"not a merge of two parts: {merge!r}", place=_PLACE)
        pairs.append((parts[0], parts[1]))
    if not pairs:
        raise InputError.of("`model.merges` is missing or empty", place=_PLACE)
    return pairs


def merge_order(vocab: Mapping[str, int], pairs: Sequence[tuple[str, str]], fixed: set[str]) -> dict[str, int]:
    """The order in which merging makes tokens. InputError when merging by one score per token would differ.

    It does not when each token's merges have neighbouring ranks, and each way to put a token together is a merge.
    `fixed`: texts of added tokens, which are matched before merging.
    """
    order: dict[str, int] = {}
    last = ""
    for left, right in pairs:
        made = left + right
        if made != last and made in order:
            raise _not_by_score(f"the merges that make {made!r} are not next to each other")
        order.setdefault(made, len(order))
        last = made
    known = set(pairs)
    for token in vocab:
        if token in fixed or _BYTE.fullmatch(token):
            continue
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in vocab and right in vocab and (left, right) not in known:
                raise _not_by_score(f"{left!r} and {right!r} are not merged, although {token!r} is a token")
    return order


def _not_by_score(reason: str) -> InputError:
    return InputError.of(
        f"llama.cpp merges tokens by score, which is not the same here: {reason}",
        place=_PLACE,
        hint="add the model's tokenizer.model to the source folder, which has the scores",
    )


def require_bytes(tokens: Sequence[str]) -> None:
    """InputError unless there is a token for every byte: llama.cpp crashes on a letter it has no token for."""
    missing = [f"<0x{i:02X}>" for i in range(256) if f"<0x{i:02X}>" not in tokens]
    if missing:
        raise InputError.of(
            f"the vocabulary lacks {len(missing)} of the 256 byte tokens, first {missing[0]}, which llama.cpp needs",
            place=_PLACE,
            hint="this tokenizer has no equal on llama.cpp: choose a model with byte fallback",
        )


def json_table(files: TokenizerFiles, tokenizer: Json, n_vocab: int) -> ScoredTable:
    """The table of a tokenizer.json alone, scores made from merge ranks."""
    model = read_model(tokenizer)
    require_plain_bpe(model)
    vocab = read_vocab(model)
    order = merge_order(vocab, _merge_pairs(model), {token.content for token in files.added})
    table = ScoredTable.empty(n_vocab)
    for token, index in vocab.items():
        if _BYTE.fullmatch(token):
            table.put(index, token, 0.0, TokenType.BYTE)
        else:
            # Single letters are never merged into: their score only has to be a score.
            table.put(index, token, -float(order.get(token, len(order))), TokenType.NORMAL)
    for added in files.added:
        table.put(added.id, added_entry(added)[0], _ADDED_SCORE, added_entry(added)[1])
    return table


def prepends_space(tokenizer: Json) -> bool:
    """Whether `tokenizer` puts a space before a text. InputError for a text treatment that llama.cpp does not have."""
    prepends = escapes = False
    for step in normalizers(tokenizer):
        if step.get("type") == "Prepend" and step.get("prepend") == SPACE:
            prepends = True
        elif step.get("type") == "Replace" and _replaces_spaces(step):
            escapes = True
        else:
            raise _unknown_treatment("normalizer", step)
    for part in _parts(tokenizer.get("pre_tokenizer")):
        if part.get("type") == "Metaspace" and part.get("replacement") == SPACE and not part.get("split", True):
            escapes = True
            prepends = prepends or part.get("prepend_scheme", "always") != "never"
        elif not (escapes and _splits_nothing(part)):
            raise _unknown_treatment("pre_tokenizer", part)
    if not escapes:
        raise InputError.of(f"spaces are not written as {SPACE!r}, as llama.cpp does", place=_PLACE)
    return prepends


def _parts(pre_tokenizer: Any) -> list[Json]:
    if not isinstance(pre_tokenizer, dict):
        return []
    if pre_tokenizer.get("type") == "Sequence":
        return [inner for part in pre_tokenizer.get("pretokenizers") or [] for inner in _parts(part)]
    return [pre_tokenizer]


def _replaces_spaces(step: Json) -> bool:
    pattern = step.get("pattern")
    return isinstance(pattern, dict) and pattern.get("String") == " " and step.get("content") == SPACE


def _splits_nothing(part: Json) -> bool:
    """Gemma splits at spaces after all spaces were replaced."""
    pattern = part.get("pattern")
    return part.get("type") == "Split" and isinstance(pattern, dict) and pattern.get("String") == " "


def _unknown_treatment(where: str, part: Json) -> InputError:
    return InputError.of(
        f"the {where} {part.get('type')} changes the text in a way that llama.cpp does not: {dict(part)}",
        place=_PLACE,
        hint="this tokenizer has no equal on llama.cpp: choose a model without it",
    )
