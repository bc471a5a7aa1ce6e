"""Token windows of a calibration text. Rule: a text too short to say anything is refused, not used."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from edgec.errors import InputError
from edgec.quantize.architecture import Decoder
from edgec.quantize.settings import QuantizeSettings
from edgec.source.model import CheckpointHeader

_TOKENIZER = "tokenizer.json"
MIN_TOKENS = 1024
# Text is tokenized a part at a time, until there are tokens enough.
_PART_CHARS = 1 << 18
_HINT = "give a text file of a few hundred kilobytes like the model's use"


def window_tokens(decoder: Decoder, settings: QuantizeSettings) -> int:
    """Tokens of one window."""
    return min(settings.sequence_tokens, decoder.context)


def calibration_windows(
    header: CheckpointHeader, decoder: Decoder, settings: QuantizeSettings, text: str
) -> NDArray[np.int32]:
    """Windows (sequences, tokens) from the start of `text`, each after the tokens that begin every text.

    Raises InputError when the tokenizer is missing or does not fit, or when the text is too short.
    """
    tokenizer = _tokenizer(header)
    length = window_tokens(decoder, settings)
    prefix = tokenizer.encode("").ids
    ids = _ids(tokenizer, text, settings.max_tokens)
    own = length - len(prefix)
    count = len(ids) // own if own > 0 else 0
    if count * own < min(MIN_TOKENS, settings.max_tokens // 2):
        raise InputError.of(
            f"the calibration text makes {len(ids)} tokens, {count} whole windows of {length}; "
            f"{min(MIN_TOKENS, settings.max_tokens // 2)} is the least",
            hint=_HINT,
        )
    if max(ids) >= decoder.vocabulary:
        raise InputError.of(
            f"the tokenizer makes the token {max(ids)}, and the model has {decoder.vocabulary}",
            hint="check that tokenizer.json belongs to this model",
            place=_TOKENIZER,
        )
    windows = np.array(ids[: count * own], np.int32).reshape(count, own)
    return np.concatenate([np.tile(np.array(prefix, np.int32), (count, 1)), windows], axis=1)


def _tokenizer(header: CheckpointHeader) -> Tokenizer:
    data = header.files.get(_TOKENIZER)
    if data is None:
        raise InputError.of(
            f"{_TOKENIZER} is missing, so the calibration text cannot be tokenized",
            hint="save it once: `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`",
        )
    try:
        return Tokenizer.from_str(data.decode("utf-8"))
    except Exception as error:  # the library raises nothing narrower
        raise InputError.of(
            f"is not a tokenizer: {str(error)[:120]}", hint="fetch the file again", place=_TOKENIZER
        ) from error


def _ids(tokenizer: Tokenizer, text: str, wanted: int) -> list[int]:
    ids: list[int] = []
    for begin in range(0, len(text), _PART_CHARS):
        ids += tokenizer.encode(text[begin : begin + _PART_CHARS], add_special_tokens=False).ids
        if len(ids) >= wanted:
            break
    return ids[:wanted]
