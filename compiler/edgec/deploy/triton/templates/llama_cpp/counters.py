"""Token counts among Triton's own metrics, per model and version."""

from __future__ import annotations

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
        self._prompt, self._generated = (family.Metric(labels=labels) for family in self._families)

    def count(self, prompt_tokens: int, generated_tokens: int) -> None:
        """Adds one request's tokens."""
        # Each call goes through Triton: once per request, not once per token.
        self._prompt.increment(prompt_tokens)
        self._generated.increment(generated_tokens)
