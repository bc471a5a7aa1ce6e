"""The Triton model: what the python backend calls. One instance decodes all requests together, in one llama.cpp.

Rule: nothing but Triton's three calls; the rest of the folder does the work.
"""

from __future__ import annotations

from typing import Any

from .service import open_service


class TritonPythonModel:
    """Called by Triton in this order: initialize, execute for every batch of requests, finalize."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the model; what it raises is why Triton says that the model did not load."""
        self._service = open_service(args)

    def execute(self, requests: list[Any]) -> list[Any] | None:
        """Answers requests: now, or later through their response senders (then None)."""
        return self._service.execute(requests)

    def finalize(self) -> None:
        """Closes the model; Triton calls it when every request is answered."""
        self._service.close()
