"""Counts of tokens and of requests without an answer, among Triton's own metrics, per model and version.

Rule: one thread at a time. Triton 2.51 crashes, with all its models, when two threads update metrics at once; sending
responses meanwhile does no harm.
"""

from __future__ import annotations

import threading

import triton_python_backend_utils as pb_utils

from .refusals import RefusedError

_DESCRIPTIONS = {
    "edgec_prompt_tokens_total": "Tokens of prompts whose answer began",
    "edgec_generated_tokens_total": "Tokens generated",
    "edgec_refused_requests_total": "Requests that got an error",
    "edgec_cancelled_requests_total": "Requests whose client left before the end",
}


class Counters:
    """The counters of one model and version; tokens also of requests whose client left."""

    def __init__(self, model: str, version: str) -> None:
        labels = {"model": model, "version": version}
        # The families must outlive their metrics.
        self._families = {
            name: pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.COUNTER)
            for name, description in _DESCRIPTIONS.items()
        }
        self._metrics = {name: family.Metric(labels=labels) for name, family in self._families.items()}
        self._one_at_a_time = threading.Lock()

    def count(self, prompt_tokens: int, generated_tokens: int) -> None:
        """Adds one request's tokens."""
        # Each call goes through Triton: once per request, not once per token.
        with self._one_at_a_time:
            self._metrics["edgec_prompt_tokens_total"].increment(prompt_tokens)
            self._metrics["edgec_generated_tokens_total"].increment(generated_tokens)

    def count_refusal(self, error: RefusedError) -> None:
        """Adds a request that got no answer."""
        what = "cancelled" if error.code == "CANCELLED" else "refused"
        with self._one_at_a_time:
            self._metrics[f"edgec_{what}_requests_total"].increment(1)

    def close(self) -> None:
        """Takes them out of Triton's metrics. Left to the end of the process, that crashes it."""
        self._metrics.clear()
        self._families.clear()
