"""What llama.cpp reads out of a model's name. Rule: a name that would keep the vocabulary from loading is refused."""

from __future__ import annotations

from edgec.formats.gguf.model import Vocabulary

# With one of these in `general.name`, llama.cpp changes attributes of these tokens and fails where one is missing.
_PHI3_NAMES = ("phi-3", "phi3")
_PHI3_TOKENS = ("</s>", "<unk>", "<s>", "<|endoftext|>")


def missing_for_name(name: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The tokens that llama.cpp demands of a model called `name` and that the vocabulary has not."""
    if not any(part in name.lower() for part in _PHI3_NAMES):
        return ()
    entry = next(e for e in vocabulary.metadata if e.key == "tokenizer.ggml.tokens")
    tokens = set(entry.value) if isinstance(entry.value, tuple) else set()
    return tuple(token for token in _PHI3_TOKENS if token not in tokens)
