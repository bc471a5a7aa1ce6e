"""A tokenizer.json for checkpoints that have none: from vocab.txt or tokenizer.model, as Hugging Face builds it.

Rule: it is both what WordPiece vocabularies are mapped from and what the proof compares token ids with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.vocabulary.added import SPACE
from edgec.formats.gguf.vocabulary.entries import TokenType
from edgec.formats.gguf.vocabulary.files import Json, TokenizerFiles, read_files
from edgec.formats.gguf.vocabulary.sentencepiece import ModelType, SentencePieceModel, parse_sentencepiece

_MODEL_FILES = ("tokenizer.model", "spiece.model")
_BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def sentencepiece_model(files: TokenizerFiles) -> SentencePieceModel | None:
    """The checkpoint's SentencePiece file, None without one."""
    name = next((n for n in _MODEL_FILES if n in files.raw), None)
    return None if name is None else parse_sentencepiece(files.raw[name], name)


def _document(model: Json, added: list[Json], **parts: Any) -> dict[str, Any]:
    empty = {"normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    start = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added}
    return {**start, **empty, **parts, "model": model}


def _added(index: int, content: str, special: bool) -> Json:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": index, "content": content, **flags, "special": special}


def _template(before: str | None, after: str | None, ids: Json) -> Json | None:
    if before is None and after is None:
        return None
    ends = [[{"SpecialToken": {"id": t, "type_id": 0}}] if t else [] for t in (before, after)]
    single = [*ends[0], {"Sequence": {"id": "A", "type_id": 0}}, *ends[1]]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}, *ends[1]]
    special = {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in (before, after) if t}
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def from_vocab_txt(files: TokenizerFiles) -> dict[str, Any]:
    """BERT's tokenizer over vocab.txt, one token per line."""
    try:
        lines = files.raw["vocab.txt"].decode().split("\n")
    except UnicodeDecodeError as error:
        raise InputError.of(f"not valid UTF-8: {error}", place="vocab.txt") from error
    vocab = {line.rstrip("\r"): i for i, line in enumerate(lines[:-1] if lines[-1] == "" else lines)}
    missing = [t for t in ("[UNK]", "[CLS]", "[SEP]") if t not in vocab]
    if missing:
        raise InputError.of(f"the special tokens {', '.join(missing)} are missing", place="vocab.txt")
    settings = files.settings
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 100, "vocab": vocab}  # fmt: skip
    normalizer = {"type": "BertNormalizer", "clean_text": True,
                  "handle_chinese_chars": bool(settings.get("tokenize_chinese_chars", True)),
                  "strip_accents": settings.get("strip_accents"),
                  "lowercase": bool(settings.get("do_lower_case", True))}  # fmt: skip
    return _document(
        model,
        sorted((_added(vocab[t], t, special=True) for t in _BERT_SPECIAL if t in vocab), key=lambda a: int(a["id"])),
        normalizer=normalizer,
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=_template("[CLS]", "[SEP]", vocab),
    )


def _merges(model: SentencePieceModel, vocab: dict[str, int]) -> list[list[str]]:
    """Every way to put a piece together from two others: by score, then by the ids of the two."""
    found = []
    for rank, piece in enumerate(sorted(model.pieces, key=lambda p: -p.score)):
        if piece.type is not TokenType.NORMAL:
            continue
        cuts = [(piece.text[:i], piece.text[i:]) for i in range(1, len(piece.text))]
        found += [(rank, vocab[a], vocab[b], [a, b]) for a, b in cuts if a in vocab and b in vocab]
    return [pair for *_, pair in sorted(found, key=lambda m: m[:3])]


def _added_of_model(files: TokenizerFiles, model: SentencePieceModel) -> dict[int, Json]:
    added = {
        i: _added(i, p.text, special=p.type is not TokenType.USER_DEFINED)
        for i, p in enumerate(model.pieces)
        if p.type in {TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED}
    }
    for key, entry in (files.settings.get("added_tokens_decoder") or {}).items():
        added[int(key)] = _added(int(key), entry["content"], bool(entry.get("special")))
    return added


def from_sentencepiece_bpe(files: TokenizerFiles, model: SentencePieceModel) -> dict[str, Any]:
    """Llama's tokenizer over a SentencePiece BPE model."""
    vocab = {piece.text: i for i, piece in enumerate(model.pieces)}
    steps: list[Json] = [{"type": "Replace", "pattern": {"String": " "}, "content": SPACE}]
    if model.add_dummy_prefix:
        steps.insert(0, {"type": "Prepend", "prepend": SPACE})
    unknown = model.pieces[model.unk_id].text if 0 <= model.unk_id < len(model.pieces) else None
    bpe = {"type": "BPE", "dropout": None, "unk_token": unknown, "continuing_subword_prefix": None,
           "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
           "vocab": vocab, "merges": _merges(model, vocab)}  # fmt: skip
    added = _added_of_model(files, model)
    ends = [
        model.pieces[i].text if files.settings.get(key, default) and i >= 0 else None
        for key, default, i in (("add_bos_token", True, model.bos_id), ("add_eos_token", False, model.eos_id))
    ]
    return _document(
        bpe,
        [added[i] for i in sorted(added)],
        normalizer={"type": "Sequence", "normalizers": steps},
        post_processor=_template(ends[0], ends[1], vocab),
    )


def equivalent_tokenizer(files: TokenizerFiles) -> dict[str, Any] | None:
    """The tokenizer.json Hugging Face would make of the other files, None where edgec cannot tell."""
    model = sentencepiece_model(files)
    if model is not None:
        return from_sentencepiece_bpe(files, model) if model.model_type is ModelType.BPE else None
    return from_vocab_txt(files) if "vocab.txt" in files.raw else None


def oracle_json(files: Mapping[str, bytes]) -> bytes | None:
    """The tokenizer.json to compare token ids with: the one among `files` (contents by name), else an equivalent.

    None where there is neither: ids of such a checkpoint cannot be verified.
    """
    if "tokenizer.json" in files:
        return files["tokenizer.json"]
    built = equivalent_tokenizer(read_files(files, {}))
    return None if built is None else json.dumps(built, ensure_ascii=False).encode()
