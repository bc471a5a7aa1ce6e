"""WordPiece (BERT, MiniLM, Nomic): llama.cpp's `bert` model, which marks word starts instead of word insides.

Rule: what the normalizer does to case and accents is written into the file; what llama.cpp cannot do is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgec.errors import InputError
from edgec.formats.gguf.model import KeyValue
from edgec.formats.gguf.vocabulary.added import SPACE, added_entry
from edgec.formats.gguf.vocabulary.byte_bpe import normalizers
from edgec.formats.gguf.vocabulary.entries import TokenType, flag, number, numbers, text, texts
from edgec.formats.gguf.vocabulary.files import Json, TokenizerFiles
from edgec.formats.gguf.vocabulary.model import read_model, read_vocab, require_distinct, require_ids_below

_PLACE = "tokenizer.json"
_INSIDE = "##"
# The converter tells a few BERT vocabularies apart by a hash; llama.cpp ignores the name for this model.
_PRE = "default"
_BERT_TOKENS = {"bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]"}


def _refuse(what: str) -> InputError:
    return InputError.of(
        f"{what}, which llama.cpp does not do for WordPiece",
        place=_PLACE,
        hint="this tokenizer has no equal on llama.cpp: choose a model with BERT's own normalizer and pre-tokenizer",
    )


def _normalizer_switches(tokenizer: Json) -> tuple[KeyValue, ...]:
    lowercase: bool | None = None
    strip_accents: bool | None = None
    steps = normalizers(tokenizer)
    for step in steps:
        kind = step.get("type")
        if kind == "BertNormalizer":
            if not step.get("clean_text", True) or not step.get("handle_chinese_chars", True):
                raise _refuse("the normalizer keeps control characters, or Chinese characters together")
            lowercase, strip_accents = bool(step.get("lowercase", True)), step.get("strip_accents")
        elif kind == "Lowercase":
            lowercase = True
        elif kind == "StripAccents":
            strip_accents = True
        elif kind != "NFD":
            raise _refuse(f"the normalizer {kind} changes the text")
    if not any(step.get("type") == "BertNormalizer" for step in steps):
        raise _refuse("the text is not cleaned and Chinese characters are not split")
    entries = [] if lowercase is None else [flag("tokenizer.ggml.normalizer.lowercase", lowercase)]
    if isinstance(strip_accents, bool):
        entries.append(flag("tokenizer.ggml.normalizer.strip_accents", strip_accents))
    return tuple(entries)


def _require_bert(tokenizer: Json, model: Json) -> None:
    pre_tokenizer = tokenizer.get("pre_tokenizer") or {}
    if pre_tokenizer.get("type") != "BertPreTokenizer":
        raise _refuse(f"the pre-tokenizer {pre_tokenizer.get('type')} splits words in another way than BERT's")
    if model.get("continuing_subword_prefix", _INSIDE) != _INSIDE:
        raise _refuse(f"the inside of words is marked {model['continuing_subword_prefix']!r} instead of {_INSIDE!r}")


def _phantom(token: str, kind: TokenType) -> str:
    """llama.cpp's spelling: `##x` is x, and x at the start of a word has a space before it."""
    if kind is TokenType.CONTROL:
        return token
    return token[len(_INSIDE) :] if token.startswith(_INSIDE) else SPACE + token


def _tokens(files: TokenizerFiles, vocab: Mapping[str, int], n_vocab: int) -> tuple[list[str], list[TokenType]]:
    require_ids_below(max([*vocab.values(), *(t.id for t in files.added)], default=-1), n_vocab)
    tokens = [f"[PAD{i}]" for i in range(n_vocab)]
    types = [TokenType.UNUSED] * n_vocab
    for token, index in vocab.items():
        tokens[index], types[index] = token, TokenType.NORMAL
    for added in files.added:
        tokens[added.id], types[added.id] = added_entry(added)
    return [_phantom(t, k) for t, k in zip(tokens, types, strict=True)], types


def map_wordpiece(
    files: TokenizerFiles, tokenizer: Json, *, n_vocab: int, token_types: int
) -> tuple[tuple[KeyValue, ...], tuple[KeyValue, ...], dict[str, int]]:
    """The entries but for special tokens and templates, the normalizer's switches, which come last, and BERT's ids."""
    model = read_model(tokenizer)
    _require_bert(tokenizer, model)
    vocab = read_vocab(model)
    tokens, types = _tokens(files, vocab, n_vocab)
    require_distinct(tokens)
    entries = (
        number("tokenizer.ggml.token_type_count", token_types),
        text("tokenizer.ggml.model", "bert"),
        text("tokenizer.ggml.pre", _PRE),
        texts("tokenizer.ggml.tokens", tokens),
        numbers("tokenizer.ggml.token_type", types),
    )
    ids = {kind: vocab[token] for kind, token in _BERT_TOKENS.items() if token in vocab}
    return entries, _normalizer_switches(tokenizer), ids
