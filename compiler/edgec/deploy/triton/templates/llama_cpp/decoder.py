"""A language model in Triton: every request in a thread of its own, at most `parallel` of them decoding.

Rule: `execute` never waits; whoever must wait does so in the queue of `Slots`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import triton_python_backend_utils as pb_utils

from .counters import Counters
from .generation import Answer, generate
from .generation_request import GenerationRequest, generation_request
from .llama import Llama
from .refusals import RefusedError
from .settings import Settings
from .slots import Slots, Ticket
from .tensors import count_tensor, inputs_of, refusal, response, text_tensor

_FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
_WARM_UP = {"text_input": "Hello, world.", "max_tokens": 2}


class Decoder:
    """Answers the requests of a language model."""

    def __init__(self, settings: Settings, llama: Llama, counters: Counters) -> None:
        self._settings = settings
        self._llama = llama
        self._counters = counters
        self._threads: list[threading.Thread] = []
        self._slots = Slots(settings.parallel, settings.queue_size, settings.queue_timeout_s)
        if settings.warm_up:
            self._warm_up()

    def execute(self, requests: Sequence[Any]) -> None:
        """Begins to answer; the answers come through the requests' response senders."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for request in requests:
            client = _TritonClient(request.get_response_sender())
            try:
                wanted = generation_request(
                    inputs_of(request), self._settings.max_tokens, takes_tools=self._settings.tools
                )
                ticket = self._slots.take_ticket()
            except RefusedError as error:
                self._counters.count_refusal(error)
                client.send_last(refusal(error))
                continue
            thread = threading.Thread(target=self._answer, args=(wanted, client, ticket), daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Frees the model. Triton has had all its answers by now."""
        for thread in self._threads:
            thread.join()
        self._counters.close()
        del self._llama

    def _answer(self, wanted: GenerationRequest, client: _TritonClient, ticket: Ticket) -> None:
        answer = Answer()
        # For a bug. Without a last response Triton would wait for ever, also when it unloads the model.
        last = refusal(RefusedError("this model failed; the log of tritonserver says why", "INTERNAL"))
        try:
            self._slots.wait(ticket, client.is_gone)
            generate(self._llama, wanted, client, answer)
            last = _last_response(answer, "" if wanted.stream else answer.text)
        except RefusedError as error:
            self._counters.count_refusal(error)
            last = refusal(error)
        finally:
            self._slots.leave(ticket)
            # Before the last response: who has that finds the request counted.
            self._counters.count(answer.prompt_tokens, answer.generated_tokens)
            client.send_last(last)

    def _warm_up(self) -> None:
        """Touches every weight, so that the first request is not the one that waits for the disk."""
        wanted = generation_request(_WARM_UP, self._settings.max_tokens)
        try:
            self._llama.stream(wanted.body, lambda event: False, is_chat=wanted.is_chat)
        except RefusedError as error:
            raise pb_utils.TritonModelException(f"the warm-up failed: {error}") from error


def _last_response(answer: Answer, text: str) -> Any:
    return response(
        [
            text_tensor("text_output", text),
            text_tensor("tool_calls", answer.tool_calls_json),
            text_tensor("finish_reason", answer.finish_reason),
            count_tensor("prompt_tokens", answer.prompt_tokens),
            count_tensor("completion_tokens", answer.generated_tokens),
        ]
    )


class _TritonClient:
    """`generation.Client` behind a response sender."""

    def __init__(self, sender: Any) -> None:
        self._sender = sender

    def is_gone(self) -> bool:
        return bool(self._sender.is_cancelled())

    def send_text(self, text: str) -> None:
        self._sender.send(response([text_tensor("text_output", text), text_tensor("finish_reason", "")]))

    def send_last(self, last: Any) -> None:
        """Sends the last response: nothing may be sent after it."""
        self._sender.send(last, flags=_FINAL)
