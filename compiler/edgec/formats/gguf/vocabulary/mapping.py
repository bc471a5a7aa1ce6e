"""Chooses the kind of vocabulary and puts its entries together. Rule: what llama.cpp cannot do alike is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgec.errors import InputError
from edgec.formats.gguf.model import KeyValue, Vocabulary
from edgec.formats.gguf.vocabulary.byte_bpe import is_byte_level, map_byte_bpe
from edgec.formats.gguf.vocabulary.entries import flag, text, texts
from edgec.formats.gguf.vocabulary.equivalent import equivalent_tokenizer, sentencepiece_model
from edgec.formats.gguf.vocabulary.files import Json, TokenizerFiles, added_tokens, read_files
from edgec.formats.gguf.vocabulary.limits import limit_notes
from edgec.formats.gguf.vocabulary.loading import load_tokenizer
from edgec.formats.gguf.vocabulary.model import read_model
from edgec.formats.gguf.vocabulary.pair import RERANK_KEY, pair_template
from edgec.formats.gguf.vocabulary.presence import require_special_tokens
from edgec.formats.gguf.vocabulary.sentencepiece import ModelType, SentencePieceModel
from edgec.formats.gguf.vocabulary.special import SpecialTokens, read_special_tokens
from edgec.formats.gguf.vocabulary.spm import json_table, model_file_table, prepends_space, require_bytes
from edgec.formats.gguf.vocabulary.template import chat_template as read_chat_template
from edgec.formats.gguf.vocabulary.unigram import map_unigram_file, map_unigram_json
from edgec.formats.gguf.vocabulary.wordpiece import map_wordpiece
from edgec.source.model import CheckpointHeader

_SPACE_PREFIX = "tokenizer.ggml.add_space_prefix"
# Pre-tokenizers with which llama.cpp adds bos unless the file says otherwise.
_BOS_BY_DEFAULT = frozenset({"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
                             "jina-v5-nano", "tekken", "chameleon"})  # fmt: skip


@dataclass(frozen=True)
class _Mapped:
    """The entries of one kind of vocabulary: `before` special tokens, `after` templates; `ids` as a last resort."""

    model: Literal["gpt2", "llama", "t5", "bert"]
    pre: str | None
    before: tuple[KeyValue, ...]
    after: Sequence[KeyValue] = ()
    ids: Mapping[str, int] = field(default_factory=dict)


def _byte_level(files: TokenizerFiles, tokenizer: Json, n_vocab: int, arch: str, pre: str | None) -> _Mapped:
    entries, name = map_byte_bpe(files, tokenizer, n_vocab=n_vocab, pre=pre)
    value = files.settings.get("add_prefix_space")
    # The converter writes the switch for Llama models alone; llama.cpp does not use it for this model.
    switch = (flag(_SPACE_PREFIX, value),) if arch == "llama" and isinstance(value, bool) else ()
    return _Mapped("gpt2", name, (*switch, *entries))


def _ids_of(model: SentencePieceModel) -> dict[str, int]:
    ids = {"bos": model.bos_id, "eos": model.eos_id, "unk": model.unk_id}
    return {kind: i for kind, i in ids.items() if i >= 0}


def _spm(files: TokenizerFiles, model: SentencePieceModel | None, n_vocab: int, arch: str) -> _Mapped:
    prefix = model is None or model.add_dummy_prefix
    if files.tokenizer is not None:
        prefix = prepends_space(files.tokenizer)
    if model is not None and (model.charsmap or model.remove_extra_whitespaces):
        raise InputError.of(
            "the model file normalises text, which llama.cpp does not do for SentencePiece BPE",
            place="tokenizer.model",
            hint="this tokenizer has no equal on llama.cpp: choose a model whose normalizer is `identity`",
        )
    if model is not None:
        table = model_file_table(files, model, n_vocab, arch)
    elif files.tokenizer is not None:
        table = json_table(files, files.tokenizer, n_vocab)
    else:
        raise InputError.of("there is neither tokenizer.json nor tokenizer.model")
    require_bytes(table.tokens)
    switch = (flag(_SPACE_PREFIX, prefix),)
    written = isinstance(files.settings.get("add_prefix_space"), bool)
    before = (*switch, *table.entries("llama")) if arch == "llama" and written else table.entries("llama")
    after = switch if not prefix and not (arch == "llama" and written) else ()
    return _Mapped("llama", "default", before, after, _ids_of(model) if model else {})


def _unigram(files: TokenizerFiles, model: SentencePieceModel | None, n_vocab: int, types: int | None) -> _Mapped:
    if files.tokenizer is not None:
        entries, unknown = map_unigram_json(files, files.tokenizer, n_vocab, types)
        return _Mapped("t5", "default", entries, ids={"unk": unknown})
    if model is None:
        raise InputError.of("there is neither tokenizer.json nor tokenizer.model")
    return _Mapped("t5", "default", map_unigram_file(files, model, n_vocab, types), ids=_ids_of(model))


def _without_json(files: TokenizerFiles) -> TokenizerFiles:
    """vocab.txt is mapped through the tokenizer.json it stands for; a SentencePiece file is mapped itself."""
    if "vocab.txt" not in files.raw:
        raise InputError.of(
            "there is no tokenizer.json, tokenizer.model or vocab.txt",
            hint="add tokenizer.json; where there are only vocab.json and merges.txt, transformers writes it: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
        )
    tokenizer = equivalent_tokenizer(files)
    return dataclasses.replace(files, tokenizer=tokenizer, added=added_tokens(tokenizer))


def _map(files: TokenizerFiles, n_vocab: int, arch: str, pre: str | None) -> _Mapped:
    types = int(files.config.get("type_vocab_size", 2)) if "bert" in arch else None
    if files.tokenizer is None:
        model = sentencepiece_model(files)
        if model is None:
            raise AssertionError("vocab.txt was replaced by its tokenizer.json")
        return (_spm(files, model, n_vocab, arch) if model.model_type is ModelType.BPE
                else _unigram(files, model, n_vocab, types))  # fmt: skip
    kind = read_model(files.tokenizer).get("type")
    if kind == "WordPiece":
        before, after, ids = map_wordpiece(files, files.tokenizer, n_vocab=n_vocab, token_types=types or 1)
        return _Mapped("bert", "default", before, after, ids)
    if kind == "Unigram":
        return _unigram(files, None, n_vocab, types)
    if kind == "BPE" and is_byte_level(files.tokenizer.get("pre_tokenizer")):
        return _byte_level(files, files.tokenizer, n_vocab, arch, pre)
    if kind == "BPE":
        return _spm(files, sentencepiece_model(files), n_vocab, arch)
    raise InputError.of(
        f"llama.cpp has no tokenizer of the type {kind}",
        place="tokenizer.json",
        hint="BPE, WordPiece and Unigram can be mapped: choose a model with one of these",
    )


def _with_defaults(special: SpecialTokens, mapped: _Mapped, *, has_json: bool) -> SpecialTokens:
    """Writes down that bos or eos is not added where llama.cpp would add it and tokenizer.json does not."""
    by_default = {
        "bos": mapped.model == "llama" or mapped.pre in _BOS_BY_DEFAULT,
        "eos": mapped.model == "t5",
    }
    unsaid = {kind: False for kind, on in by_default.items() if has_json and on and kind not in special.add}
    return dataclasses.replace(special, add={**special.add, **unsaid})


def map_vocabulary(
    header: CheckpointHeader,
    *,
    n_vocab: int,
    arch: str,
    pre: str | None = None,
    chat_template: str | None = None,
    reranks: bool = False,
) -> Vocabulary:
    """The checkpoint's tokenizer as GGUF metadata.

    `n_vocab`: rows of the token embedding. `arch`: llama.cpp's architecture name. `pre`, `chat_template`: the recipe's
    overrides (a name of llama.cpp's, a jinja text). `reranks`: the model scores pairs of texts. Raises InputError for
    what llama.cpp would tokenize differently.
    """
    files = read_files(header.files, header.config)
    if files.tokenizer is None and sentencepiece_model(files) is None:
        files = _without_json(files)
    mapped = _map(files, n_vocab, arch, pre)
    notes = require_special_tokens(files, _tokens(mapped))
    special = read_special_tokens(files, n_vocab, spare=mapped.ids, strict=mapped.model == "gpt2")
    special = _with_defaults(special, mapped, has_json=files.tokenizer is not None)
    if "tokenizer.json" in files.raw:
        load_tokenizer(files.raw["tokenizer.json"])
    template, template_file, template_entries = read_chat_template(files, chat_template)
    pair = pair_template(files.tokenizer) if reranks else None
    pair_entries = () if pair is None else (text(RERANK_KEY, pair), texts("tokenizer.chat_templates", ["rerank"]))
    return Vocabulary(
        metadata=(*mapped.before, *special.metadata(), *template_entries, *pair_entries, *mapped.after),
        model=mapped.model,
        pre=mapped.pre,
        n_tokens=n_vocab,
        special=special.ids,
        chat_template=template,
        chat_template_file=template_file,
        rerank_template=pair,
        notes=(*(limit_notes(files.tokenizer) if files.tokenizer else ()), *special.notes, *notes),
    )


def _tokens(mapped: _Mapped) -> tuple[str, ...]:
    """The texts of all ids."""
    entry = next(e for e in mapped.before if e.key == "tokenizer.ggml.tokens")
    return tuple(str(token) for token in entry.value) if isinstance(entry.value, tuple) else ()
