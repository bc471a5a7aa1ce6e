"""What is tried on a language model in Triton.

Rule: nothing here depends on what the model says; where the length of an answer matters, a JSON schema demands it.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgec.deploy.triton.interface import GENERATION_INPUTS, GENERATION_OUTPUTS
from edgec.errors import ToolError
from edgec.prove.model import Check
from edgec.trial.triton_client import Streamed, TritonModel
from edgec.trial.triton_model_checks import (
    SEE_LOG,
    Step,
    attempt,
    metadata_check,
    metrics_check,
    refusals_check,
    reload_check,
)
from edgec.trial.triton_streams import Leaver, leaving_check, leaving_shown, streaming_check, streaming_shown
from edgec.trial.verdicts import none_of

_PROMPT = "How do I list the files of a folder?"
_MESSAGES = json.dumps([{"role": "user", "content": _PROMPT}])
# Greedy, so that two answers can be compared.
_GREEDY: dict[str, Any] = {"max_tokens": 24, "temperature": 0.0}
# No model ends this list by itself before its context is full.
_LIST = json.dumps({"type": "array", "items": {"type": "boolean"}, "minItems": 1900})
# A long answer takes about so long, and has at least and at most so many tokens.
_LONG_S, _LEAST_TOKENS, _MOST_TOKENS = 4.0, 48, 1024
_TOO_LONG = "word " * 200_000
_STREAMS = 8
_PIECES = 3
# Of what a busy machine may spoil.
_TRIES = 8
_SETTLED_S = 0.3
_SETTLE_TIMEOUT_S = 60.0
_GENERATED = "edgec_generated_tokens_total"


def metadata(model: TritonModel, folder: Path) -> Check:
    """Inputs and outputs."""
    return metadata_check(model, GENERATION_INPUTS, GENERATION_OUTPUTS, batched=False)


def answers(model: TritonModel, folder: Path) -> Check:
    """A prompt and a chat are answered, with counts and a reason why the answer ended."""
    failures: list[str] = []
    asked: dict[str, dict[str, Any]] = {"prompt": {"text_input": _PROMPT}, "chat": {"messages": _MESSAGES}}
    for what, inputs in asked.items():
        with attempt(failures, what):
            reply = model.generate(**inputs, **_GREEDY)
            answer = reply.json()
            if not reply.is_ok:
                failures.append(f"{what}: {answer.get('error', reply.status)}")
            elif answer["finish_reason"] not in ("stop", "length") or min(_counts(answer)) < 1:
                failures.append(f"{what}: an answer without its reason or counts: {answer}")
    return none_of("prompt and chat answered", failures, len(asked), "failed", hint=SEE_LOG)


def _counts(answer: dict[str, Any]) -> tuple[int, int]:
    return answer["prompt_tokens"], answer["completion_tokens"]


def stream_equals_whole(model: TritonModel, folder: Path) -> Check:
    """The pieces of a streamed answer are the whole answer."""
    failures: list[str] = []
    with attempt(failures, "stream"):
        # The first request leaves its prompt in the cache; the two that are compared find the same there.
        model.generate(text_input=_PROMPT, **_GREEDY)
        whole = model.generate(text_input=_PROMPT, **_GREEDY).json().get("text_output")
        streamed = model.stream(text_input=_PROMPT, **_GREEDY)
        if streamed.text != whole:
            failures.append(f"{streamed.text!r} instead of {whole!r}")
    return none_of("streamed answer is the whole one", failures, 1, "different", hint=SEE_LOG)


def token_by_token(model: TritonModel, folder: Path) -> Check:
    """A long answer comes in pieces, one after the other."""
    asked, answer = _long_answer(model)
    tries = [answer]
    while not streaming_shown(tries[-1]) and len(tries) < _TRIES:
        tries.append(model.stream(**asked))
    return streaming_check(tries, hint=SEE_LOG)


def streams_at_once(model: TritonModel, folder: Path) -> Check:
    """Several clients stream at once, as many as may wait, and all get a whole answer."""
    failures: list[str] = []
    told = model.parameters()
    streams = min(_STREAMS, int(told["parallel"]) + int(told["queue_size"]))

    def ask(number: int) -> None:
        with attempt(failures, f"stream {number}"):
            model.stream(text_input=f"{number} {_PROMPT}", **_GREEDY)

    with ThreadPoolExecutor(streams) as clients:
        list(clients.map(ask, range(streams)))
    return none_of("streams at once", failures, streams, "failed", hint=SEE_LOG)


def client_that_leaves(model: TritonModel, folder: Path) -> Check:
    """When a client leaves in mid-stream, the work for it stops."""
    asked, answer = _long_answer(model)
    leavers: list[Leaver] = []
    while len(leavers) < _TRIES and not any(map(leaving_shown, leavers)):
        leavers.append(_leaver(model, asked, int(answer.last["completion_tokens"])))
    return leaving_check(leavers, answer, hint=SEE_LOG)


def _leaver(model: TritonModel, asked: dict[str, Any], whole_tokens: int) -> Leaver:
    before = _settled(model, 0)
    began = time.monotonic()
    with model.events(**asked) as events:
        for event in itertools.islice(events, _PIECES):
            if "error" in event:
                raise ToolError.of(f"a request after one whose client left: {event['error']}", hint=SEE_LOG)
    left_s = time.monotonic() - began
    return Leaver(left_s, (_settled(model, before + 1) - before) / whole_tokens)


def _long_answer(model: TritonModel) -> tuple[dict[str, Any], Streamed]:
    """What to ask for an answer of a few seconds, and that answer."""
    short = model.stream(text_input=_PROMPT, **_GREEDY)
    tokens = len(short.pieces) / short.arrivals_s[-1] * _LONG_S
    asked = {"text_input": _PROMPT, **_GREEDY, "max_tokens": round(min(max(tokens, _LEAST_TOKENS), _MOST_TOKENS))}
    answer = model.stream(**asked)
    if answer.last["finish_reason"] == "stop":
        # Slower, because the grammar looks at the whole vocabulary for every token.
        asked["json_schema"] = _LIST
        answer = model.stream(**asked)
    return asked, answer


def _settled(model: TritonModel, least: float) -> float:
    """The count of generated tokens, once it is `least` and grows no more. Raises ToolError when it never is."""
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    count = model.metric(_GENERATED)
    while time.monotonic() < deadline:
        time.sleep(_SETTLED_S)
        last, count = count, model.metric(_GENERATED)
        if count >= least and count == last:
            return count
    raise ToolError.of(f"{_GENERATED} is {count:.0f} instead of at least {least:.0f}", hint=SEE_LOG)


def refusals(model: TritonModel, folder: Path) -> Check:
    """Bad requests."""
    return refusals_check(
        model,
        {
            "a prompt longer than the context": lambda: model.generate(text_input=_TOO_LONG),
            "a text for a number": lambda: model.generate(text_input=_PROMPT, max_tokens="many"),
            "two prompts": lambda: model.generate(text_input=[_PROMPT, _PROMPT]),
            "neither prompt nor messages": lambda: model.generate(max_tokens=4),
            "messages that are no JSON": lambda: model.generate(messages="Hello"),
            "a negative temperature": lambda: model.generate(text_input=_PROMPT, temperature=-1.0),
        },
    )


def new_version(model: TritonModel, folder: Path) -> Check:
    """Hot swap under streams."""

    def busy(stop: threading.Event, failures: list[str]) -> None:
        while True:
            with attempt(failures, "a stream during the load"):
                model.stream(text_input=_PROMPT, **_GREEDY)
            if stop.is_set():
                return

    return reload_check(model, folder, busy)


def metrics(model: TritonModel, folder: Path) -> Check:
    """Counters."""
    return metrics_check(model, ("nv_inference_request_success", "edgec_prompt_tokens_total", _GENERATED))


DECODER_STEPS: tuple[Step, ...] = (
    metadata,
    answers,
    stream_equals_whole,
    token_by_token,
    streams_at_once,
    client_that_leaves,
    refusals,
    metrics,
    new_version,
)
