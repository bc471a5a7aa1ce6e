"""Triton's tensors as plain values, and the reverse. The only file that knows their numpy types.

Rule: a tensor of the wrong type or shape never gets here, Triton refuses it; a text that is not UTF-8 is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils

from .refusals import RefusedError

# Inputs that are lists; every other input is one value.
_LISTS = ("stop", "documents")


def inputs_of(request: Any) -> dict[str, Any]:
    """The given inputs: name to text, number, truth or list of texts. Raises RefusedError."""
    return {tensor.name(): _value(tensor.name(), tensor.as_numpy()) for tensor in request.inputs()}


def texts_of(request: Any, name: str) -> list[str]:
    """All elements of a text input, in order. Raises RefusedError."""
    return _texts(name, pb_utils.get_input_tensor_by_name(request, name).as_numpy())


def _value(name: str, array: npt.NDArray[Any]) -> Any:
    values = _texts(name, array) if array.dtype == np.object_ else array.ravel().tolist()
    return values if name in _LISTS else values[0]


def _texts(name: str, array: npt.NDArray[Any]) -> list[str]:
    try:
        return [element.decode("utf-8") for element in array.ravel()]
    except UnicodeDecodeError as error:
        raise RefusedError(f"`{name}` is not UTF-8: {error.reason} at byte {error.start}") from error


def text_tensor(name: str, text: str) -> Any:
    """One text, shape (1,)."""
    return pb_utils.Tensor(name, np.array([text.encode()], dtype=np.object_))


def count_tensor(name: str, count: int) -> Any:
    """One INT32, shape (1,)."""
    return pb_utils.Tensor(name, np.array([count], dtype=np.int32))


def response(tensors: Iterable[Any]) -> Any:
    """An answer."""
    return pb_utils.InferenceResponse(list(tensors))


def refusal(error: RefusedError) -> Any:
    """An answer that is an error."""
    code = getattr(pb_utils.TritonError, error.code)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error), code))
