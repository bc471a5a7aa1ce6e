"""A model in llama.cpp, as the rest of edgec sees it: an object whose methods may raise ToolError and never hang.

Rule: the model lives in a child process; leaving the `with` block, an error and ^C all end that process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from edgec.errors import ToolError
from edgec.formats.gguf.runtime.area import SharedArea, create_area
from edgec.formats.gguf.runtime.channel import Channel
from edgec.formats.gguf.runtime.logs import new_log
from edgec.toolchain.cores import usable_cores

_WORKER = "edgec.formats.gguf.runtime.worker"
_TEMPLATE_WORKER = "edgec.formats.gguf.runtime.template_worker"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ModelInfo:
    """What llama.cpp says about an open model. `n_ctx`: tokens of this context, never more than `n_ctx_train`.

    `special`: ids by name (`bos`, `eos`, `eot`, `sep`, `nl`, `pad`, `mask`), those that exist. `pooling`: `none`,
    `mean`, `cls`, `last`, `rank` or `unspecified`.
    """

    runtime: str
    n_vocab: int
    n_ctx: int
    n_ctx_train: int
    n_embd: int
    n_layer: int
    pooling: str
    add_bos: bool
    add_eos: bool
    special: dict[str, int]
    chat_template: str | None


@dataclass(frozen=True)
class InputSums:
    """Sums of squares per column of what entered one weight, shape (columns,), over `rows` rows (tokens)."""

    name: str
    sums: npt.NDArray[np.float64]
    rows: int


class LlamaProcess:
    """A GGUF opened by llama.cpp in a child process.

    `n_batch`: tokens per call of llama.cpp, 0 to keep one call's logits below 128 MiB. `timeout_s`: longest wait for
    one answer, loading included. `log`: where llama.cpp's output goes; without it a new file in the folder `logs`, kept
    on failure only (default: the system's temporary folder).
    `collect`: sum the squares of activations (see `collect_chunk`). Raises ToolError when the model cannot be opened.
    """

    def __init__(
        self,
        model: Path,
        *,
        n_ctx: int,
        n_batch: int = 0,
        embeddings: bool = False,
        threads: int | None = None,
        log: Path | None = None,
        logs: Path | None = None,
        timeout_s: float = 600.0,
        collect: bool = False,
    ) -> None:
        self._timeout_s = timeout_s
        self._own_log = log is None
        self._log = log or new_log(logs)
        descriptor = create_area()
        self._area = SharedArea(descriptor)
        self._channel = Channel(_WORKER, [str(os.getpid()), str(descriptor)], pass_fds=(descriptor,), log=self._log)
        try:
            reply = self._ask(
                "open", model=str(model), n_ctx=n_ctx, n_batch=n_batch, embeddings=embeddings, collect=collect,
                threads=threads or usable_cores(),
            )  # fmt: skip
        except BaseException:
            self.close(keep_log=True)
            raise
        self._info = ModelInfo(**reply)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close(keep_log=isinstance(error, ToolError))

    def close(self, *, keep_log: bool = False) -> None:
        """Ends the process and frees what it shared; again does nothing."""
        self._channel.kill()
        self._area.close()
        if self._own_log and not keep_log:
            self._log.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._channel.pid

    def info(self) -> ModelInfo:
        """Facts about the model."""
        return self._info

    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids. `add_special` adds BOS or EOS as the model says, `parse_special` reads special tokens."""
        reply = self._ask("tokenize", text=text, add_special=add_special, parse_special=parse_special)
        return list(reply["tokens"])

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """UTF-8 bytes of `tokens`, special tokens left out; a text cut inside a character is not valid UTF-8."""
        return bytes.fromhex(self._ask("detokenize", tokens=list(tokens))["hex"])

    def logits(self, tokens: Sequence[int], *, first: int = 0) -> Floats:
        """Logits of the tokens from index `first` on, shape (tokens, n_vocab): rows of all pieces in one array."""
        pieces = list(self.logit_pieces(tokens, first=first))
        return np.concatenate(pieces) if pieces else np.empty((0, self._info.n_vocab), dtype=np.float32)

    def logit_pieces(self, tokens: Sequence[int], *, first: int = 0) -> Iterator[Floats]:
        """The same in pieces of bounded size, in order. Another call ends an unfinished one."""
        reply = self._ask("logits", tokens=list(tokens), first=first)
        while reply["rows"]:
            yield self._take(reply["bytes"], np.float32, (reply["rows"], self._info.n_vocab))
            reply = self._ask("next")

    def embed(self, texts_tokens: Sequence[Sequence[int]]) -> Floats:
        """Embeddings of texts, shape (texts, n_embd): pooled as the model says, else the mean over the tokens."""
        rows = np.empty((len(texts_tokens), self._info.n_embd), dtype=np.float32)
        for row, tokens in zip(rows, texts_tokens, strict=True):
            reply = self._ask("embed", tokens=list(tokens))
            row[:] = self._take(reply["bytes"], np.float32, (reply["size"],))
        return rows

    def generate(self, tokens: Sequence[int], max_tokens: int) -> list[int]:
        """Greedy continuation: ids up to an end-of-generation token (left out) or the end of the context."""
        return list(self._ask("generate", tokens=list(tokens), max_tokens=max_tokens)["tokens"])

    def collect_chunk(self, tokens: Sequence[int]) -> None:
        """Runs one chunk and adds the squares of all activations. Raises ToolError naming a tensor with NaN or inf."""
        self._ask("collect", tokens=list(tokens))

    def collected(self) -> Iterator[InputSums]:
        """What was collected, sorted by weight name."""
        index = 0
        while (reply := self._ask("sums", index=index))["name"] is not None:
            sums = self._take(reply["bytes"], np.float64, (reply["size"],))
            yield InputSums(reply["name"], sums, reply["rows"])
            index += 1

    def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        return self._channel.ask({"do": do, **arguments}, self._timeout_s)

    def _take(self, nbytes: int, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        try:
            return self._area.take(nbytes, dtype, shape)
        except ValueError as error:
            self._channel.kill()
            raise ToolError.of(f"the llama.cpp process sent an array of another size: {error}",
                               hint=f"the full log is {self._log}") from error  # fmt: skip


def server_prompts(
    model: Path,
    conversations: Sequence[Sequence[Mapping[str, str]]],
    *,
    logs: Path | None = None,
    timeout_s: float = 120.0,
) -> list[str | None]:
    """The prompts llama.cpp's server makes of conversations with the model's own chat template.

    A conversation: messages with `role` and `content`. None where the template refuses one, or
    the server the template. `logs` as in `LlamaProcess`. Raises ToolError when the server crashes or hangs.
    """
    log = new_log(logs)
    channel = Channel(_TEMPLATE_WORKER, [str(os.getpid())], pass_fds=(), log=log)
    try:
        messages = [[dict(message) for message in conversation] for conversation in conversations]
        reply = channel.ask({"do": "render", "model": str(model), "conversations": messages}, timeout_s)
    finally:
        channel.kill()
    log.unlink()
    return list(reply["prompts"])
