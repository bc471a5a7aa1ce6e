"""The Triton model: `model.onnx` in its version folder, run by onnxruntime on the CPU.

Rule: requests of one batch are one run, as in Triton's own onnxruntime backend; Triton joins only equal shapes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import triton_python_backend_utils as pb_utils

_FILE = "model.onnx"


class TritonPythonModel:
    """Called by Triton in this order: initialize, execute for every batch of requests, finalize."""

    def initialize(self, args: dict[str, str]) -> None:
        """Opens the model. Raises TritonModelException when its tensors are not those of config.pbtxt."""
        config = json.loads(args["model_config"])
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._types = [pb_utils.triton_string_to_numpy(tensor["data_type"]) for tensor in config["output"]]
        self._is_batched = int(config.get("max_batch_size", 0)) > 0
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(config["parameters"]["intra_op_thread_count"]["string_value"])
        path = Path(args["model_repository"], args["model_version"], _FILE)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        _require("inputs", self._inputs, [tensor.name for tensor in self._session.get_inputs()])
        _require("outputs", self._outputs, [tensor.name for tensor in self._session.get_outputs()])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request, in order."""
        if not self._is_batched:
            return [_response(self._run([request]), self._outputs) for request in requests]
        sizes = [_tensor(request, self._inputs[0]).shape[0] for request in requests]
        results = self._run(requests)
        parts = [np.split(result, np.cumsum(sizes)[:-1]) for result in results]
        return [_response([part[number] for part in parts], self._outputs) for number in range(len(requests))]

    def finalize(self) -> None:
        """Frees the model."""
        del self._session

    def _run(self, requests: Sequence[Any]) -> list[npt.NDArray[Any]]:
        feeds = {name: np.concatenate([_tensor(request, name) for request in requests]) for name in self._inputs}
        results = self._session.run(self._outputs, feeds)
        return [result.astype(kind, copy=False) for result, kind in zip(results, self._types, strict=True)]


def _tensor(request: Any, name: str) -> npt.NDArray[Any]:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()  # type: ignore[no-any-return]


def _response(results: Sequence[npt.NDArray[Any]], names: Sequence[str]) -> Any:
    tensors = [pb_utils.Tensor(name, np.ascontiguousarray(result)) for name, result in zip(names, results, strict=True)]
    return pb_utils.InferenceResponse(tensors)


def _require(what: str, configured: Sequence[str], found: Sequence[str]) -> None:
    """An output that nobody asks for may stay out of config.pbtxt, an input may not."""
    missing = set(configured) - set(found) if what == "outputs" else set(configured) ^ set(found)
    if missing:
        raise pb_utils.TritonModelException(f"{what} of config.pbtxt are {configured}, those of {_FILE} are {found}")
