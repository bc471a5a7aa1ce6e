"""The text a decoder is scored on: as token ids, cut into windows that both models read in lockstep."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgec.errors import InputError
from edgec.events import Note, Progress, Reporter
from edgec.formats.gguf.runtime.client import LlamaProcess
from edgec.prove.divergence import Divergence, DivergenceMeter, unigram_perplexity, window_starts
from edgec.recipe.model import Prove


@dataclass(frozen=True)
class HeldOut:
    """Windows of equal size, and the perplexity a unigram model has on the whole text. `size`: tokens per window."""

    windows: tuple[tuple[int, ...], ...]
    size: int
    unigram_perplexity: float

    @property
    def scored_from(self) -> int:
        """Index of the first token of a window that is scored: the first half is context."""
        return self.size // 2


def built_in_text() -> str:
    """A short text of several kinds (prose, questions, minutes, code, four languages), written for edgec."""
    return importlib.resources.files("edgec.prove").joinpath("held_out.txt").read_text("utf-8")


def cut_windows(llama: LlamaProcess, text: str, settings: Prove, report: Reporter) -> HeldOut:
    """Token windows of `text` as the recipe wants them, smaller or fewer (with a note) where it must be.

    Raises InputError when not even one window fits.
    """
    info = llama.info()
    tokens = llama.tokenize(text, add_special=True, parse_special=False)
    bos = info.special.get("bos") if info.add_bos else None
    return cut_tokens(tokens, settings, report, n_ctx=info.n_ctx, n_vocab=info.n_vocab, bos=bos)


def cut_tokens(
    tokens: Sequence[int], settings: Prove, report: Reporter, *, n_ctx: int, n_vocab: int, bos: int | None
) -> HeldOut:
    """The same of a text's token ids. `n_ctx`: the longest window the model can take; `bos`: what it must begin with.

    Models that begin with BOS always do, also in the middle of a text.
    """
    size = min(settings.window_tokens, n_ctx)
    if size < settings.window_tokens:
        report(Note(f"the proof uses windows of {size} tokens: the model was trained with no more"))
    starts = window_starts(len(tokens), size, settings.windows)
    if not starts:
        raise InputError.of(
            f"the held-out text has {len(tokens)} tokens; one window of the proof needs {size}",
            hint="give a longer prove.held_out, or a smaller prove.window_tokens",
        )
    if len(starts) < settings.windows:
        report(Note(f"the held-out text of {len(tokens)} tokens gives {len(starts)} windows, not {settings.windows}"))
    cut = (tuple(tokens[start : start + size]) for start in starts)
    windows = tuple(window if bos is None else (bos, *window[1:]) for window in cut)
    return HeldOut(windows, size, unigram_perplexity(tokens, n_vocab))


def compare_windows(
    artifact: LlamaProcess, reference: LlamaProcess, held_out: HeldOut, report: Reporter, action: str
) -> Divergence:
    """Runs both models over all windows, one window at a time."""
    meter = DivergenceMeter()
    total = len(held_out.windows) * held_out.size
    for done, window in enumerate(held_out.windows):
        report(Progress(action, done * held_out.size, total, "tokens", "comparing with the unquantized model"))
        _compare_window(meter, artifact, reference, window, held_out.scored_from)
    report(Progress(action, total, total, "tokens", "comparing with the unquantized model"))
    return meter.result()


def _compare_window(
    meter: DivergenceMeter, artifact: LlamaProcess, reference: LlamaProcess, window: Sequence[int], scored_from: int
) -> None:
    inputs, targets = window[:-1], iter(window[scored_from:])
    first = scored_from - 1
    pieces = zip(reference.logit_pieces(inputs, first=first), artifact.logit_pieces(inputs, first=first), strict=True)
    for expected, found in pieces:
        meter.add(expected, found, list(_take(targets, expected.shape[0])))


def _take(items: Iterator[int], count: int) -> Iterator[int]:
    for _, item in zip(range(count), items, strict=False):
        yield item
