"""Chooses the kind of vocabulary and puts its entries together. Rule: what llama.cpp cannot do alike is refused."""

from __future__ import annotations

from edgec.errors import InputError
from edgec.formats.gguf.model import KeyValue, Vocabulary
from edgec.formats.gguf.vocabulary.byte_bpe import map_byte_bpe
from edgec.formats.gguf.vocabulary.entries import flag
from edgec.formats.gguf.vocabulary.files import TokenizerFiles, read_files
from edgec.formats.gguf.vocabulary.special import read_special_tokens
from edgec.formats.gguf.vocabulary.template import chat_template as read_chat_template
from edgec.source.model import CheckpointHeader


def _space_prefix(files: TokenizerFiles, arch: str) -> tuple[KeyValue, ...]:
    """The converter writes the switch for Llama models alone."""
    value = files.settings.get("add_prefix_space")
    return (flag("tokenizer.ggml.add_space_prefix", value),) if arch == "llama" and isinstance(value, bool) else ()


def map_vocabulary(
    header: CheckpointHeader,
    *,
    n_vocab: int,
    arch: str,
    pre: str | None = None,
    chat_template: str | None = None,
) -> Vocabulary:
    """The checkpoint's tokenizer as GGUF metadata.

    `n_vocab`: rows of the token embedding. `arch`: llama.cpp's architecture name. `pre`, `chat_template`: the recipe's
    overrides (a name of llama.cpp's, a jinja text). Raises InputError for what llama.cpp would tokenize differently.
    """
    files = read_files(header)
    if files.tokenizer is None:
        raise InputError.of("there is no tokenizer.json", hint="add the model's tokenizer.json to the source folder")
    entries, chosen, notes = map_byte_bpe(files, files.tokenizer, n_vocab=n_vocab, pre=pre)
    special = read_special_tokens(files, n_vocab)
    template, template_entries = read_chat_template(files, chat_template)
    return Vocabulary(
        metadata=(*_space_prefix(files, arch), *entries, *special.metadata(), *template_entries),
        model="gpt2",
        pre=chosen,
        n_tokens=n_vocab,
        special=special.ids,
        chat_template=template,
        notes=(*notes, *special.notes),
    )
