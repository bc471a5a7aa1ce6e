"""Why a request gets no answer, as an exception that the model turns into a Triton error."""

from __future__ import annotations

from typing import Literal

# Names of error codes in Triton's python backend.
Code = Literal["INVALID_ARG", "UNAVAILABLE", "CANCELLED", "INTERNAL"]


class RefusedError(Exception):
    """One request cannot be answered; the model goes on. `code`: whose fault it is, in Triton's terms."""

    def __init__(self, message: str, code: Code = "INVALID_ARG") -> None:
        super().__init__(message)
        self.code: Code = code
