"""Compares an ONNX decoder in onnxruntime with its source in torch: windows of tokens, and greedy text token by token.

Runs in the toolchain `genai`, by edgec.toolchain; imports nothing of edgec but the scripts of `decoder_pair/inside`.

Request: `source`: a checkpoint's folder; `model`: an ONNX file; `runtime`: a folder for onnxruntime-genai, or None;
`windows` (lists of token ids, all of one length), `scored_from` (index of the first scored token of a window),
`prompts` (lists of token ids), `texts` (of the prompts, then others), `new_tokens`, `end_ids`, `head_width`, `threads`.
Answer: `divergence` of the windows and `decoded` of the greedy text (both against the source), `at_once` of the greedy
text against the same model without a KV cache (see `divergence_sums`), `answers` (token ids of each prompt), `runtime`
(what onnxruntime-genai answers and tokenizes, None without it), `versions`; or `refused`: which, and why.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# At the end: nothing beside this file comes before the standard library.
sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[2] / "decoder_pair" / "inside"))

import onnxruntime
import torch
import transformers
from cached_session import CachedSession
from checkpoint_folder import CheckpointFolder, RefusedError
from divergence_sums import DivergenceSums
from genai_answers import answer_in_genai
from streamed_model import StreamedModel

_BLOCK_TOKENS = 256


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """See the module."""
    torch.set_num_threads(int(request["threads"]))
    try:
        with torch.inference_mode():
            return _compared(request, progress)
    except RefusedError as error:
        return {"refused": {"which": error.which, "message": error.message}}


def _compared(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    windows, scored_from, prompts = request["windows"], request["scored_from"], request["prompts"]
    total = 2 * len(windows) + 2 * len(prompts)
    progress(0, total, "texts", "the source in torch")
    source = StreamedModel(CheckpointFolder(Path(request["source"]), "source"), lambda _: None)
    states = source.hidden([window[:-1] for window in windows])[:, scored_from - 1 :].flatten(0, 1).contiguous()
    session = _opened(request)
    sums = DivergenceSums([token for window in windows for token in window[scored_from:]])
    for index, window in enumerate(windows):
        progress(len(windows) + index, total, "texts", "the artifact in onnxruntime")
        logits = torch.from_numpy(session.continued(window[:-1], scored_from - 1))
        _add_window(sums, index, logits, states=states, source=source)
    del states
    answers, decoded, at_once = _answers(session, request, lambda i: progress(2 * len(windows) + i, total, "texts", ""))
    # Its weights go before those of onnxruntime-genai come.
    del session
    gc.collect()
    progress(total - len(prompts), total, "texts", "the source on the artifact's own text")
    return {
        "divergence": sums.result(len(windows)),
        "decoded": _against_source(source, prompts, answers, decoded),
        "at_once": _against(at_once, decoded, answers),
        "answers": answers,
        "runtime": None if request["runtime"] is None else answer_in_genai(request, decoded),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, onnxruntime)},
    }


def _opened(request: dict[str, Any]) -> CachedSession:
    try:
        return CachedSession(request["model"], int(request["threads"]), int(request["head_width"]))
    except ValueError as error:
        raise RefusedError("candidate", str(error)) from error


def _add_window(
    sums: DivergenceSums, index: int, logits: torch.Tensor, *, states: torch.Tensor, source: StreamedModel
) -> None:
    """`logits`: of all scored tokens of the window, (tokens, vocabulary)."""
    if logits.shape[1] != source.n_vocab:
        message = f"logits of {logits.shape[1]} tokens, the source's vocabulary has {source.n_vocab}"
        raise RefusedError("candidate", message)
    count = logits.shape[0]
    for begin, end in source.head_pieces():
        head = source.head_piece(begin, end)
        for first in range(0, count, _BLOCK_TOKENS):
            last = min(first + _BLOCK_TOKENS, count)
            rows = slice(index * count + first, index * count + last)
            sums.add_logits(rows, begin, states[rows] @ head.T, logits[first:last, begin:end])


def _answers(
    session: CachedSession, request: dict[str, Any], step: Callable[[int], None]
) -> tuple[list[list[int]], list[torch.Tensor], list[torch.Tensor]]:
    """The greedy tokens of each prompt, their logits decoded one by one, and those of the whole text read at once."""
    answers, decoded, at_once = [], [], []
    for index, prompt in enumerate(request["prompts"]):
        step(index)
        ids, rows = session.greedy(prompt, int(request["new_tokens"]), frozenset(request["end_ids"]))
        answers.append(ids)
        decoded.append(torch.from_numpy(rows))
        at_once.append(torch.from_numpy(session.continued([*prompt, *ids[:-1]], 0)[len(prompt) - 1 :].copy()))
    return answers, decoded, at_once


def _against(
    reference: Sequence[torch.Tensor], candidate: Sequence[torch.Tensor], answers: Sequence[Sequence[int]]
) -> dict[str, Any]:
    sums = DivergenceSums([token for answer in answers for token in answer])
    begin = 0
    for one, other in zip(reference, candidate, strict=True):
        sums.add_logits(slice(begin, begin + len(one)), 0, one, other)
        begin += len(one)
    return sums.result(1)


def _against_source(
    source: StreamedModel,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    decoded: Sequence[torch.Tensor],
) -> dict[str, Any]:
    """The source reads the artifact's own text; filled up behind, where nothing looks."""
    texts = [[*prompt, *answer[:-1]] for prompt, answer in zip(prompts, answers, strict=True)]
    longest = max(map(len, texts))
    states = source.hidden([text + [0] * (longest - len(text)) for text in texts])
    found = []
    for row, prompt, answer in zip(states, prompts, answers, strict=True):
        found.append(source.logits(row[len(prompt) - 1 : len(prompt) - 1 + len(answer)]))
    return _against(found, decoded, answers)
