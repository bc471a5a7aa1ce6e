"""Compares two checkpoints on windows of tokens, and records what the second one answers to prompts.

Runs in the toolchain `transformers`, by edgec.toolchain; imports nothing of edgec.

Request: `source`, `candidate` (folders), `windows` (lists of token ids, all of one length), `scored_from` (index of the
first scored token of a window), `prompts` (lists of token ids), `new_tokens`, `top`, `threads`.
Answer: `divergence` (see `divergence_sums`), `answers` (of each prompt: for each new token the `top` most likely
[id, log probability]), `versions`; or `refused`: which checkpoint, and why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))

import torch
import transformers
from checkpoint_folder import CheckpointFolder, RefusedError
from divergence_sums import DivergenceSums
from streamed_model import StreamedModel

# Digits of the log probabilities in the answer: finer ones are noise of the order of additions.
_DIGITS = 4


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    torch.set_num_threads(int(request["threads"]))
    try:
        with torch.inference_mode():
            return _compared(request, progress)
    except RefusedError as error:
        return {"refused": {"which": error.which, "message": error.message}}


class _Steps:
    """Counts what is done, for people."""

    def __init__(self, progress: Callable[..., None]) -> None:
        self._progress = progress
        self.total = 0
        self._done = 0

    def of(self, title: str) -> Callable[[str], None]:
        """What a model is told to call after each layer."""

        def step(name: str) -> None:
            self._done += 1
            self._progress(self._done, self.total, "layers", f"{title} {name}")

        return step


def _compared(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    steps = _Steps(progress)
    source = StreamedModel(CheckpointFolder(Path(request["source"]), "source"), steps.of("source"))
    candidate = StreamedModel(CheckpointFolder(Path(request["candidate"]), "candidate"), steps.of("artifact"))
    if source.n_vocab != candidate.n_vocab:
        shown = f"the vocabulary has {candidate.n_vocab} tokens, the source's {source.n_vocab}"
        raise RefusedError("candidate", shown)
    steps.total = source.n_layers + candidate.n_layers * (1 + request["new_tokens"] * bool(request["prompts"]))
    windows, scored_from = request["windows"], request["scored_from"]
    divergence = _divergence(source, candidate, windows, scored_from)
    answers = []
    if request["prompts"] and divergence["broken"] == 0:
        answers = _answers(candidate, request["prompts"], request["new_tokens"], request["top"])
    return {
        "divergence": divergence,
        "answers": answers,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def _divergence(
    source: StreamedModel, candidate: StreamedModel, windows: list[list[int]], scored_from: int
) -> dict[str, Any]:
    """The last token of a window is only predicted; the states before the scored half are dropped at once."""
    inputs = [window[:-1] for window in windows]
    targets = [token for window in windows for token in window[scored_from:]]

    def states(model: StreamedModel) -> torch.Tensor:
        kept = model.hidden(inputs)[:, scored_from - 1 :].flatten(0, 1)
        return model.head_input(kept.contiguous())

    both = states(source), states(candidate)
    sums = DivergenceSums(targets)
    for begin, end in source.head_pieces():
        sums.add(begin, both, (source.head_piece(begin, end), candidate.head_piece(begin, end)))
    return sums.result(len(windows))


def _answers(
    model: StreamedModel, prompts: Sequence[Sequence[int]], new_tokens: int, top: int
) -> list[list[list[tuple[int, float]]]]:
    """The greedy continuation of each prompt. All run again for each token, filled up behind, where nothing looks."""
    texts = [list(prompt) for prompt in prompts]
    found: list[list[list[tuple[int, float]]]] = [[] for _ in prompts]
    for _ in range(new_tokens):
        longest = max(len(text) for text in texts)
        states = model.hidden([text + [0] * (longest - len(text)) for text in texts])
        last = states[torch.arange(len(texts)), torch.tensor([len(text) - 1 for text in texts])]
        best = torch.log_softmax(model.logits(last).double(), dim=1).topk(top, dim=1)
        for text, answer, ids, values in zip(texts, found, best.indices.tolist(), best.values.tolist(), strict=True):
            answer.append([(i, round(v, _DIGITS)) for i, v in zip(ids, values, strict=True)])
            text.append(ids[0])
    return found
