"""tokenizer.json through Hugging Face `tokenizers`. Rule: what it cannot read is refused before anything is built."""

from __future__ import annotations

from tokenizers import Tokenizer

from edgec.errors import InputError

_SHOWN_CHARS = 300


def load_tokenizer(tokenizer_json: bytes) -> Tokenizer:
    """The tokenizer of a tokenizer.json. InputError with the library's reason when it cannot be read."""
    try:
        return Tokenizer.from_buffer(tokenizer_json)
    except ValueError as error:
        reason = str(error).removeprefix("Cannot instantiate Tokenizer from buffer: ")[:_SHOWN_CHARS]
        raise InputError.of(
            f"Hugging Face `tokenizers` cannot read it: {reason}",
            place="tokenizer.json",
            hint="download the file again, or save it again with transformers' save_pretrained; a very new file may "
            "need a newer `tokenizers`",
        ) from error
