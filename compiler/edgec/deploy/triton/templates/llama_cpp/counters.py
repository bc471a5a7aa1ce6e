"""Token counts among Triton's own metrics, per model and version.

Rule: one thread at a time. Triton 2.51 crashes, with all its models, when two threads update metrics at once; sending
responses meanwhile does no harm.
"""

from __future__ import annotations

import threading

import triton_python_backend_utils as pb_utils


class Counters:
    """`edgec_prompt_tokens_total` and `edgec_generated_tokens_total`, also of requests whose client left."""

    def __init__(self, model: str, version: str) -> None:
        labels = {"model": model, "version": version}
        # The families must outlive their metrics.
        self._families = [
            pb_utils.MetricFamily(name=name, description=description, kind=pb_utils.MetricFamily.COUNTER)
            for name, description in (
                ("edgec_prompt_tokens_total", "Tokens of prompts whose answer began"),
                ("edgec_generated_tokens_total", "Tokens generated"),
            )
        ]
        self._metrics = [family.Metric(labels=labels) for family in self._families]
        self._one_at_a_time = threading.Lock()

    def count(self, prompt_tokens: int, generated_tokens: int) -> None:
        """Adds one request's tokens."""
        # Each call goes through Triton: once per request, not once per token.
        with self._one_at_a_time:
            for metric, tokens in zip(self._metrics, (prompt_tokens, generated_tokens), strict=True):
                metric.increment(tokens)

    def close(self) -> None:
        """Takes them out of Triton's metrics. Left to the end of the process, that crashes it."""
        self._metrics.clear()
        self._families.clear()
