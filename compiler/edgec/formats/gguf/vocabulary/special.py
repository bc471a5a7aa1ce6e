"""Special token ids and the add-token switches, read off the tokenizer's files in llama.cpp's converter's order.

Rule: tokenizer_config.json names a token, tokenizer.json's added tokens give its id, config.json fills the gaps, and
special_tokens_map.json and generation_config.json fill what is still open (llama.cpp would assume ids otherwise).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgec.errors import InputError
from edgec.formats.gguf.model import KeyValue
from edgec.formats.gguf.vocabulary.entries import flag, number
from edgec.formats.gguf.vocabulary.files import Json, TokenizerFiles, parse_json
from edgec.formats.gguf.vocabulary.presence import token_text

_KINDS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
# llama.cpp's key for each kind ("seperator" is its spelling). `cls` has no key: the class token is bos.
_ID_KEYS = {
    "bos": "bos",
    "eos": "eos",
    "unk": "unknown",
    "sep": "seperator",
    "pad": "padding",
    "mask": "mask",
    "eot": "eot",
    "eom": "eom",
}
_ADD_KEYS = ("bos", "eos", "sep")


@dataclass(frozen=True)
class SpecialTokens:
    """`ids` by kind (`bos`, `eos`, `unk`, `sep`, `pad`, `mask`, `eot`, `eom`), `add` by kind (`bos`, `eos`, `sep`)."""

    ids: Mapping[str, int]
    add: Mapping[str, bool]
    notes: tuple[str, ...] = ()

    def metadata(self) -> tuple[KeyValue, ...]:
        """The entries, in the converter's order."""
        ids = tuple(number(f"tokenizer.ggml.{_ID_KEYS[k]}_token_id", v) for k, v in self.ids.items() if k in _ID_KEYS)
        adds = tuple(flag(f"tokenizer.ggml.add_{k}_token", v) for k, v in self.add.items() if k in _ADD_KEYS)
        return ids + adds


@dataclass
class _Reading:
    """What is known while the files are read. `names`: tokens by kind, as text or objects."""

    names: dict[str, Any]
    has_settings: bool
    add: dict[str, bool] = field(default_factory=dict)
    kinds: tuple[str, ...] = _KINDS
    notes: list[str] = field(default_factory=list)


def _token_id(item: object) -> str | None:
    """The token of a `SpecialToken` item of a template, None for a sequence."""
    if isinstance(item, dict) and isinstance(item.get("SpecialToken"), dict):
        name = item["SpecialToken"].get("id")
        return name if isinstance(name, str) else None
    return None


def _read_first(reading: _Reading, first: str) -> None:
    known = (token_text(reading.names.get("bos")), token_text(reading.names.get("cls")))
    if not reading.has_settings:
        reading.names["bos"] = first
    elif first not in known:
        for kind, value in zip(("bos", "cls"), known, strict=True):
            if not value:
                reading.names[kind] = first
    added = first in (token_text(reading.names.get("bos")), token_text(reading.names.get("cls")))
    reading.add["bos"] = added
    if not added:
        reading.notes.append(f"the leading token {first!r} of the post-processor is neither bos nor cls: not added")


def _read_last(reading: _Reading, last: str) -> None:
    eos = reading.names.get("eos")
    if reading.has_settings and last != token_text(eos):
        # The model's own end token is kept as end of turn: what the template adds becomes the end of the text.
        spare = next((kind for kind in ("eot", "eom") if kind not in reading.kinds), None)
        if spare is not None:
            reading.kinds += (spare,)
            reading.names[spare] = eos
    reading.names["eos"] = last
    reading.add["eos"] = True


def _middle_adds_sep(reading: _Reading, middle: list[object], last: str | None) -> bool:
    """Whether the tokens between the sequences A and B separate them with sep or eos."""
    ends = (token_text(reading.names.get("sep")), token_text(reading.names.get("eos")))
    first = _token_id(middle[0])
    separated = first is not None and first in ends and not last
    if len(middle) == 2:
        second = _token_id(middle[1])
        separated = separated or (second is not None and second in ends)
    return separated


def _read_pair(reading: _Reading, pair: list[object], first: str | None, last: str | None) -> None:
    start = 1 if first and _token_id(pair[0]) == first else 0
    stop = len(pair) - 1 if last and _token_id(pair[-1]) == last else len(pair)
    inner = pair[start:stop]
    ends = [item.get("Sequence", {}).get("id") if isinstance(item, dict) else None for item in inner]
    if len(inner) < 3 or (ends[0], ends[-1]) != ("A", "B"):
        return
    adds = _middle_adds_sep(reading, inner[1:-1], last)
    reading.add["sep"] = adds
    if adds and not token_text(reading.names.get("sep")) and reading.has_settings:
        reading.names["sep"] = reading.names.get("eos")


def _read_template(reading: _Reading, processor: Json) -> None:
    single, pair = processor.get("single") or [], processor.get("pair") or []
    first = last = None
    if len(single) > 1:
        if first := _token_id(single[0]):
            _read_first(reading, first)
        if last := _token_id(single[-1]):
            _read_last(reading, last)
    extra = [name for item in single[1:-1] if (name := _token_id(item))]
    if extra:
        reading.notes.append(f"the post-processor adds {', '.join(extra)} inside of the prompt, llama.cpp does not")
    if pair:
        _read_pair(reading, pair, first, last)


def _read_roberta(reading: _Reading, processor: Json) -> None:
    reading.add.update(bos=True, eos=True, sep=True)
    for kind in ("cls", "sep"):
        value = processor.get(kind)
        if not token_text(reading.names.get(kind)) and isinstance(value, list) and value:
            reading.names[kind] = value[0]


def _read_post_processor(reading: _Reading, processor: Json) -> None:
    for step in processor.get("processors") or [processor]:
        kind = step.get("type")
        if kind == "ByteLevel":
            reading.add.setdefault("bos", False)
            reading.add.setdefault("eos", False)
        elif kind == "RobertaProcessing":
            _read_roberta(reading, step)
        elif kind == "TemplateProcessing":
            _read_template(reading, step)


def _start(files: TokenizerFiles) -> _Reading:
    names = {kind: files.settings.get(f"{kind}_token") for kind in _KINDS}
    if files.tokenizer is not None:
        # BERT-like tokenizers name only cls and sep.
        for kind, stand_in in (("bos", "cls"), ("eos", "sep")):
            names[kind] = names[kind] or names[stand_in]
    return _Reading(names=names, has_settings=files.tokenizer_config is not None)


def _named_ids(files: TokenizerFiles, reading: _Reading) -> dict[str, int]:
    by_text: dict[str, int] = {}
    for token in files.added:
        by_text.setdefault(token.content, token.id)
    if not reading.has_settings:
        return {}
    found = {kind: by_text.get(token_text(reading.names.get(kind)) or "") for kind in reading.kinds}
    return {kind: i for kind, i in found.items() if i is not None}


def _template_ids(files: TokenizerFiles, reading: _Reading) -> dict[str, int]:
    """Ids of bos and eos as the post-processor adds them: the last resort, where no file names them."""
    by_text = {token.content: token.id for token in reversed(files.added)}
    found = {
        kind: by_text.get(token_text(reading.names.get(kind)) or "") for kind in ("bos", "eos") if reading.add.get(kind)
    }
    return {kind: i for kind, i in found.items() if i is not None}


def _number(document: Json, kind: str) -> int | None:
    value = document.get(f"{kind}_token_id")
    if isinstance(value, list) and value:
        value = value[0]
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_special_tokens(
    files: TokenizerFiles, n_vocab: int, *, spare: Mapping[str, int], strict: bool
) -> SpecialTokens:
    """Special tokens of a vocabulary of `n_vocab` entries.

    `spare`: ids for kinds that no file names. `strict`: an id outside the vocabulary is an InputError; otherwise it is
    left out with a note, as the converter does for all but byte-level BPE.
    """
    reading = _start(files)
    if files.tokenizer is not None and isinstance(files.tokenizer.get("post_processor"), dict):
        _read_post_processor(reading, files.tokenizer["post_processor"])
    for kind in reading.kinds:
        value = files.settings.get(f"add_{kind}_token")
        if isinstance(value, bool):
            reading.add.setdefault(kind, value)
    ids = _named_ids(files, reading)
    _fill_from_numbers(files, reading, ids)
    for kind, token in {**_template_ids(files, reading), **spare}.items():
        ids.setdefault(kind, token)
    for kind, token in list(ids.items()):
        if not 0 <= token < n_vocab:
            if strict:
                raise InputError.of(
                    f"the {kind} token has id {token}, but the vocabulary has {n_vocab} entries",
                    place="config.json",
                    hint=f"correct `{kind}_token_id` or `vocab_size` in config.json",
                )
            reading.notes.append(f"{kind} token id {token} lies outside the vocabulary: ignored")
            del ids[kind]
    return SpecialTokens(ids=ids, add=reading.add, notes=tuple(reading.notes))


def _fill_from_numbers(files: TokenizerFiles, reading: _Reading, ids: dict[str, int]) -> None:
    for kind in reading.kinds:
        value = files.config.get(f"{kind}_token_id")
        if isinstance(value, int) and not isinstance(value, bool):
            ids.setdefault(kind, value)
    by_text = {token.content: token.id for token in reversed(files.added)}
    named = parse_json(files.raw, "special_tokens_map.json") or {}
    generation = parse_json(files.raw, "generation_config.json") or {}
    for kind in ("bos", "eos", "unk", "sep", "pad", "mask"):
        token = by_text.get(token_text(named.get(f"{kind}_token")) or "")
        value = token if token is not None else _number(generation, kind)
        if value is not None:
            ids.setdefault(kind, value)
