"""The token ids a decoder pair is compared on: windows of the held-out text, and prompts for the device.

Rule: ids come from Hugging Face `tokenizers` on the source's own files; a prompt's ids are always those of its text, so
that a runtime that is given the text reads the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from edgec.documents.canonical import sha256_bytes
from edgec.errors import InputError
from edgec.events import Reporter
from edgec.formats.gguf.vocabulary.equivalent import oracle_json
from edgec.formats.gguf.vocabulary.loading import load_tokenizer
from edgec.prove.chat_template import PROMPTS, render_chat, special_token_texts
from edgec.prove.divergence import window_starts
from edgec.prove.held_out import HeldOut, cut_tokens
from edgec.recipe.model import Prove

DEVICE_PROMPTS = 8


@dataclass(frozen=True)
class PromptText:
    """A prompt for the device. `chat`: the user's turn it was made of; `adds_special`: the tokenizer adds bos to it."""

    name: str
    text: str
    token_ids: tuple[int, ...]
    adds_special: bool
    chat: str | None = None


class PairTokenizer:
    """The source's tokenizer. InputError when it has none that edgec can read."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        content = oracle_json(files)
        if content is None:
            raise InputError.of(
                "the source has no tokenizer file that edgec can give Hugging Face `tokenizers`",
                hint="put a tokenizer.json beside config.json (transformers: save_pretrained)",
            )
        self.digest = sha256_bytes(content)
        self._files = files
        self._tokenizer: Tokenizer = load_tokenizer(content)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @property
    def largest_id(self) -> int:
        """The largest id it can give."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    @property
    def bos(self) -> int | None:
        """What it puts before every text, None if nothing."""
        added = self._tokenizer.encode("", add_special_tokens=True).ids
        before = self._tokenizer.encode("a", add_special_tokens=True).ids
        return before[0] if added and before[:1] == added[:1] else None

    def windows(self, text: str, settings: Prove, report: Reporter, *, n_ctx: int, n_vocab: int) -> HeldOut:
        """Token windows of the held-out text: special tokens in it are ordinary text. Raises InputError."""
        self._tokenizer.encode_special_tokens = True
        tokens = self._tokenizer.encode(text, add_special_tokens=True).ids
        return cut_tokens(tokens, settings, report, n_ctx=n_ctx, n_vocab=n_vocab, bos=self.bos)

    def prompts(self, text: str, template: str | None, *, size: int) -> tuple[PromptText, ...]:
        """Pieces of the text of at most `size` tokens, evenly over it, and one chat turn if there is a template."""
        self._tokenizer.encode_special_tokens = False
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        offsets: Sequence[tuple[int, int]] = encoding.offsets
        found: list[PromptText] = []
        # The piece's own ids may be one or two more than those of the same place in the whole text.
        taken = min(size - 4, len(offsets))
        for start in window_starts(len(offsets), taken, DEVICE_PROMPTS):
            piece = text[offsets[start][0] : offsets[start + taken - 1][1]].strip()
            ids = self._tokenizer.encode(piece, add_special_tokens=True).ids
            if piece and len(ids) <= size:
                found.append(PromptText(f"held-out text {len(found) + 1}", piece, tuple(ids), adds_special=True))
        return (*found, *self._chat(template))

    def token_ids(self, text: str) -> tuple[int, ...]:
        """The ids of a whole text, special tokens in it and around it included."""
        self._tokenizer.encode_special_tokens = False
        return tuple(self._tokenizer.encode(text, add_special_tokens=True).ids)

    def answer_text(self, ids: Sequence[int]) -> str | None:
        """The text of generated tokens without special ones; None where the tokenizer does not say how to write it."""
        if self._tokenizer.decoder is None:
            return None
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def _chat(self, template: str | None) -> tuple[PromptText, ...]:
        if template is None:
            return ()
        question = PROMPTS[0]
        text = render_chat(template, [{"role": "user", "content": question}], special_token_texts(self._files))
        # As transformers does: a template writes all special tokens itself.
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return (PromptText("chat", text, tuple(ids), adds_special=False, chat=question),)
