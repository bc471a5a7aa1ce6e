"""A loaded model and its context inside the worker: tokens in, logits, embeddings and greedy tokens out.

Rule: the memory is cleared before every sequence, so that results do not depend on what ran before. The context is as
the device's server makes it: flash attention left to llama.cpp, KV cache in float16, weights repacked.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgec.errors import ToolError
from edgec.formats.gguf.runtime.binding import runtime_version
from edgec.formats.gguf.runtime.structs import EVAL_CALLBACK, ContextParams

# llama.cpp keeps the logits of one call in memory; a call is cut so that they stay below this.
_LOGITS_BYTES = 128 << 20
_MAX_UBATCH = 512
_POOLING = {-1: "unspecified", 0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
_SPECIAL = ("bos", "eos", "eot", "sep", "nl", "pad", "mask")

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """How to open a model. `n_ctx` in tokens, cut to what the model was trained with; `n_batch` 0: chosen here."""

    model: str
    n_ctx: int
    n_batch: int
    threads: int
    embeddings: bool
    collect: bool


class Session:
    """One model in one context."""

    def __init__(self, lib: c.CDLL, settings: Settings, callback: Any = None) -> None:
        self._lib = lib
        self._callback = callback  # ctypes keeps no reference: without this the callback would be freed under llama.cpp
        lib.llama_backend_init()
        params = lib.llama_model_default_params()
        params.check_tensors = True
        self._model = lib.llama_model_load_from_file(settings.model.encode(), params)
        if not self._model:
            raise ToolError.of("llama.cpp refuses the model", place=settings.model, hint="see the end of its log")
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.n_vocab: int = lib.llama_vocab_n_tokens(self._vocab)
        self._n_ctx_train: int = lib.llama_model_n_ctx_train(self._model)
        self.n_ctx: int = min(settings.n_ctx, self._n_ctx_train)
        self._batch_tokens = self._choose_batch(settings)
        self._ctx = lib.llama_init_from_model(self._model, self._context_params(settings))
        if not self._ctx:
            raise ToolError.of("llama.cpp cannot make a context", place=settings.model, hint="see the end of its log")
        self._batch = lib.llama_batch_init(self._batch_tokens, 0, 1)

    def _choose_batch(self, settings: Settings) -> int:
        n_ctx: int = self.n_ctx
        if settings.n_batch:
            return min(settings.n_batch, n_ctx)
        if settings.embeddings:
            return n_ctx  # an encoder sees the whole text at once
        bounded = _LOGITS_BYTES // (4 * self.n_vocab) // 64 * 64
        return min(n_ctx, max(64, bounded))

    def _context_params(self, settings: Settings) -> ContextParams:
        params: ContextParams = self._lib.llama_context_default_params()
        params.n_ctx = self.n_ctx
        params.n_batch = self._batch_tokens
        params.n_ubatch = self._batch_tokens if settings.embeddings else min(self._batch_tokens, _MAX_UBATCH)
        params.n_threads = params.n_threads_batch = settings.threads
        params.embeddings = settings.embeddings
        if self._callback is not None:
            params.cb_eval = EVAL_CALLBACK(self._callback)
            self._callback = params.cb_eval
        return params

    def info(self) -> dict[str, Any]:
        """Facts about the model and the runtime, as JSON values; special ids that do not exist are left out."""
        lib = self._lib
        special = {name: getattr(lib, f"llama_vocab_{name}")(self._vocab) for name in _SPECIAL}
        template = lib.llama_model_chat_template(self._model, None)
        return {
            "runtime": runtime_version(lib),
            "n_vocab": self.n_vocab,
            "n_ctx": self.n_ctx,
            "n_ctx_train": self._n_ctx_train,
            "n_embd": self._width(),
            "n_layer": lib.llama_model_n_layer(self._model),
            "pooling": self._pooling(),
            "add_bos": lib.llama_vocab_get_add_bos(self._vocab),
            "add_eos": lib.llama_vocab_get_add_eos(self._vocab),
            "special": {name: value for name, value in special.items() if value >= 0},
            "chat_template": template.decode("utf-8", "replace") if template else None,
        }

    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`."""
        data = text.encode()
        capacity = len(data) + 16
        while True:
            ids = (c.c_int32 * capacity)()
            n = self._lib.llama_tokenize(self._vocab, data, len(data), ids, capacity, add_special, parse_special)
            if n >= 0:
                return list(ids[:n])
            if -n <= capacity:
                raise ToolError.of("llama.cpp cannot tokenize a text", hint="shorten the text")
            capacity = -n

    def detokenize(self, tokens: list[int]) -> bytes:
        """The text of `tokens` as llama.cpp writes it, special tokens left out; may be cut inside a character."""
        ids = (c.c_int32 * max(1, len(tokens)))(*tokens)
        capacity = 16 + 8 * len(tokens)
        while True:
            buffer = c.create_string_buffer(capacity)
            n = self._lib.llama_detokenize(self._vocab, ids, len(tokens), buffer, capacity, False, False)
            if n >= 0:
                return buffer.raw[:n]
            capacity = -n

    def logits(self, tokens: list[int], first: int, *, most: int | None = None) -> Iterator[Floats]:
        """Logits of the tokens from index `first` on, in pieces of shape (rows, n_vocab); `most` tokens at a time.

        A piece is llama.cpp's own memory: copy it before the next is asked for.
        """
        self._check(tokens)
        self._clear()
        step = min(most or self._batch_tokens, self._batch_tokens)
        for start in range(0, len(tokens), step):
            piece = tokens[start : start + step]
            outputs = max(0, len(piece) - max(0, first - start))
            self._run(piece, start, len(piece) - outputs)
            if outputs:
                yield np.ctypeslib.as_array(self._lib.llama_get_logits(self._ctx), (outputs, self.n_vocab))

    def embed(self, tokens: list[int]) -> Floats:
        """The embedding of one text, shape (n_embd,): pooled as the model says, else the mean over the tokens.

        Of a reranker: the scores of its labels.
        """
        self._check(tokens)
        self._clear()
        self._run(tokens, 0, 0)
        width = self._width()
        if self._pooling() == "none":
            rows = np.ctypeslib.as_array(self._lib.llama_get_embeddings(self._ctx), (len(tokens), width))
            return np.asarray(rows.mean(axis=0, dtype=np.float64), dtype=np.float32)
        pooled = self._lib.llama_get_embeddings_seq(self._ctx, 0)
        if not pooled:
            raise ToolError.of("llama.cpp gives no embedding", hint="the model is no encoder; see the end of its log")
        return np.array(np.ctypeslib.as_array(pooled, (width,)))

    def _pooling(self) -> str:
        return _POOLING[self._lib.llama_pooling_type(self._ctx)]

    def _width(self) -> int:
        """Elements of one output of `embed`."""
        count = self._lib.llama_model_n_cls_out if self._pooling() == "rank" else self._lib.llama_model_n_embd_out
        return int(count(self._model))

    def generate(self, tokens: list[int], max_tokens: int) -> list[int]:
        """Greedy continuation: up to `max_tokens` ids; an end-of-generation token (left out) or the context end it."""
        self._check(tokens)
        self._clear()
        out: list[int] = []
        for start in range(0, len(tokens), self._batch_tokens):
            piece = tokens[start : start + self._batch_tokens]
            self._run(piece, start, len(piece) - 1)
        position = len(tokens)
        while len(out) < max_tokens:
            row = np.ctypeslib.as_array(self._lib.llama_get_logits_ith(self._ctx, -1), (self.n_vocab,))
            if not np.isfinite(row).all():
                raise ToolError.of("the model's logits are not finite while it writes", hint="check its weights")
            token = int(row.argmax())
            if self._lib.llama_vocab_is_eog(self._vocab, token):
                break
            out.append(token)
            if position >= self.n_ctx:
                break
            self._run([token], position, 0)
            position += 1
        return out

    def _check(self, tokens: list[int]) -> None:
        if not 0 < len(tokens) <= self.n_ctx:
            raise ToolError.of(f"{len(tokens)} tokens do not fit a context of {self.n_ctx}", hint="shorten the text")
        if min(tokens) < 0 or max(tokens) >= self.n_vocab:
            raise ToolError.of(
                f"token ids outside the vocabulary of {self.n_vocab}", hint="rebuild the model's vocabulary"
            )

    def _clear(self) -> None:
        memory = self._lib.llama_get_memory(self._ctx)
        if memory:
            self._lib.llama_memory_clear(memory, True)

    def _run(self, tokens: list[int], position: int, first_output: int) -> None:
        """One call of llama.cpp: `tokens` at `position`; outputs are kept from index `first_output` on."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i >= first_output
        # An encoder has no memory, and is run by llama_encode.
        run = self._lib.llama_decode if self._lib.llama_get_memory(self._ctx) else self._lib.llama_encode
        code = run(self._ctx, batch)
        if code != 0:
            raise ToolError.of(
                f"llama.cpp cannot run {len(tokens)} tokens (code {code})", hint="see the end of its log"
            )
